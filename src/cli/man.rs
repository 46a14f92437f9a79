//! `portico man`: writes the manual pages, one for the program and one for each subcommand.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_mangen::Man;

use super::{Cli, exit, print, tell};

/// Where the pages go.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  portico man /tmp/man && man /tmp/man/portico-token.1
  # for everybody on this machine, where no package did it
  sudo portico man /usr/local/share/man/man1")]
pub struct Args {
    /// The folder that gets portico.1, portico-run.1 and so on; made if it is missing.
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub dir: PathBuf,
}

/// What the page of the program itself says of files.
const FILES: &str = "\
.SH FILES
.TP
.I /etc/portico/portico.toml
The configuration. Every key is explained by \\fBportico schema \\-\\-keys\\fR.
.TP
.I /etc/portico/conf.d/*.toml
More of it, read in the order of the names.
.TP
.I /etc/portico/boards/
Board files that override the built-in ones.
.TP
.I /var/lib/portico/
The self-signed certificate, what brokers have not got yet, recordings.
.TP
.I /var/cache/portico/
What can be made again: the list of GStreamer plugins, ended clips.
";

pub(super) fn main(args: &Args) -> ExitCode {
    let written = std::fs::create_dir_all(&args.dir).and_then(|()| {
        let pages = pages()?;
        pages.iter().try_for_each(|(name, page)| std::fs::write(args.dir.join(name), page))?;
        Ok(pages.len())
    });
    match written {
        Ok(count) => {
            print(&format!("{count} pages in {}\n", args.dir.display()));
            exit::OK
        }
        Err(error) => {
            tell(&format!("portico: the pages cannot be written to {}: {error}\n", args.dir.display()));
            ExitCode::from(exit::UNAVAILABLE)
        }
    }
}

/// File names and contents. The same for every call: no date is in them.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let subs: Vec<clap::Command> = program.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned().collect();
    let names: Vec<String> = subs.iter().map(|sub| format!("portico-{}", sub.get_name())).collect();
    let mut pages = vec![page(program, FILES, &names)?];
    for sub in subs {
        let parts: Vec<clap::Command> = sub.get_subcommands().filter(|part| !part.is_hide_set()).cloned().collect();
        let name = format!("portico-{}", sub.get_name());
        let others: Vec<String> = parts.iter().map(|part| format!("{name}-{}", part.get_name())).collect();
        pages.push(page(sub, "", &[&["portico".into()], &others[..]].concat())?);
        for part in parts {
            pages.push(page(part, "", std::slice::from_ref(&name))?);
        }
    }
    Ok(pages)
}

/// One page. What help texts say after the options keeps its lines: examples and tables are in it.
fn page(command: clap::Command, files: &str, see_also: &[String]) -> io::Result<(String, Vec<u8>)> {
    let after = command.get_after_help().map(ToString::to_string);
    let parts = command.has_subcommands();
    let man = Man::new(command).manual("Portico").source(concat!("portico ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if parts {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(after) = after {
        text.extend_from_slice(format!(".SH NOTES\n.nf\n{}.fi\n", verbatim(&after)).as_bytes());
    }
    text.extend_from_slice(files.as_bytes());
    let others: Vec<String> = see_also.iter().map(|name| format!(".BR {} (1)", verbatim(name).trim_end())).collect();
    text.extend_from_slice(format!(".SH \"SEE ALSO\"\n{}\n", others.join(",\n")).as_bytes());
    Ok((man.get_filename(), ascii(&String::from_utf8_lossy(&text)).into_bytes()))
}

/// Other characters by their code (`\[u2026]`): a formatter need not be told in which encoding the page is.
fn ascii(text: &str) -> String {
    let escape = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    text.chars().map(escape).collect()
}

/// Text that roff shows as it stands: backslashes, dashes and quotes keep their look, and no line is taken for a request.
fn verbatim(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    escaped.lines().map(|line| if line.starts_with('.') { format!("\\&{line}\n") } else { format!("{line}\n") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_page_with_its_options_and_examples() {
        let pages = pages().unwrap();
        let text = |name: &str| {
            let page = pages.iter().find(|(file, _)| file == name).unwrap_or_else(|| panic!("no {name}"));
            String::from_utf8(page.1.clone()).unwrap()
        };
        for sub in Cli::command().get_subcommands().filter(|sub| !sub.is_hide_set()) {
            assert!(text(&format!("portico-{}.1", sub.get_name())).contains(".SH NAME"), "{}", sub.get_name());
            for part in sub.get_subcommands().filter(|part| !part.is_hide_set()) {
                assert!(
                    text(&format!("portico-{}-{}.1", sub.get_name(), part.get_name())).contains(".SH NAME"),
                    "{}",
                    part.get_name()
                );
            }
        }
        let token = text("portico-token.1");
        assert!(token.contains("portico\\-token \\- Signs a token"), "{token}");
        assert!(token.contains("\n  # a link to an address that you name"), "examples keep their lines: {token}");
        assert!(token.contains("\\-\\-rights"), "{token}");
        assert!(text("portico.1").contains("/etc/portico/portico.toml"));
    }

    #[test]
    fn text_is_no_request() {
        assert_eq!(ascii("5 µs …"), "5 \\[u00B5]s \\[u2026]");
        assert_eq!(verbatim(".so /etc/passwd\n'a\\b' -x"), "\\&.so /etc/passwd\n\\(aqa\\eb\\(aq \\-x\n");
    }
}
