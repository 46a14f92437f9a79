// The arguments of a script: words in order, and `--name=value` anywhere.

const given = process.argv.slice(2);

/** The words, without the options. */
export const words = given.filter(arg => !arg.startsWith('--'));

/** The value of `--name=value`. */
export const option = name => given.find(arg => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
