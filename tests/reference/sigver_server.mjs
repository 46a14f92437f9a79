// node sigver_server.mjs PORT: sigver as published.
process.argv.splice(2, process.argv.length, '--host', '127.0.0.1', '--port', process.argv[2]);
await import(new URL('node_modules/sigver/dist/server.js', import.meta.url)); // not among the package's exports
