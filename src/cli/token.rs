//! `portico token`: signs a token.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{ConfigArgs, colour, exit, print, tell};
use crate::config::{Config, Flags};
use crate::ops::access::{Secret, SecretError, TokenRequest, read_secret, sign};
use crate::ops::net::machine_addresses;
use crate::ops::{announce, tls};
use crate::vocab::{Right, RoomId, RoomPattern};

/// What the token shall say.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  # on the gateway: a link for a browser and its QR code for a phone, for half a day
  sudo portico token --join --room kitchen
  # a link to an address that you name
  portico token --room kitchen --for 12h --url https://192.168.1.7:8780
  # watch every room whose name begins with house-
  portico token --room 'house-*' --rights subscribe --for 30d --subject tablet
  # read the API
  curl -H \"Authorization: Bearer $(portico token --rights control)\" $PORTICO/api/v1/rooms
  # a bearer for a client of the tribe dialect
  portico token --room r1 --user-id u1

Rights: publish (send streams and messages), subscribe (see members, play streams), control (read the API, change what runs),
bridge (join as a bridge to another place).")]
pub struct Args {
    /// The rooms it holds in, `*` standing for any characters; may be repeated.
    #[arg(long, value_name = "PATTERN", default_value = "*", value_parser = room_pattern)]
    pub room: Vec<String>,
    /// What the holder may do there.
    #[arg(long, value_name = "RIGHT,…", value_delimiter = ',', default_value = "publish,subscribe", value_parser = right)]
    pub rights: Vec<Right>,
    /// How long it holds, as in 90m, 12h or 30d; or `never` for a token that does not end.
    #[arg(long = "for", value_name = "DURATION", default_value = "12h", value_parser = lifetime)]
    pub lifetime: Lifetime,
    /// Whom it is for; shown in logs.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub subject: String,
    /// The user's id for clients of the tribe dialect, whose bearer it then is, too.
    #[arg(long, value_name = "ID")]
    pub user_id: Option<String>,
    /// Print a link to the page instead, for each address of the configured gateway, and a QR code of the first.
    ///
    /// Reads configuration and secret, so it runs as root where the service has a secret of its own. With --url the link is to that
    /// address.
    #[arg(long)]
    pub join: bool,
    /// Print a link to the page instead: the address of this gateway, as in https://192.168.1.7:8780.
    #[arg(long, value_name = "BASE")]
    pub url: Option<String>,
    /// The file with the secret. Default: the one the configuration names.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print token, link, rights, rooms and end as JSON.
    #[arg(long)]
    pub json: bool,
}

/// How long a token holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// For so long.
    For(Duration),
    /// Always.
    Never,
}

fn lifetime(text: &str) -> Result<Lifetime, String> {
    match text {
        "never" => Ok(Lifetime::Never),
        _ => match humantime::parse_duration(text) {
            Ok(duration) if duration >= Duration::from_secs(1) => Ok(Lifetime::For(duration)),
            Ok(_) => Err("a token must hold for at least a second".into()),
            Err(error) => Err(format!("{error}; allowed: a duration such as 90m, 12h or 30d, or never")),
        },
    }
}

fn right(text: &str) -> Result<Right, String> {
    serde_json::from_value(json!(text)).map_err(|_| "allowed: publish, subscribe, control, bridge".into())
}

fn room_pattern(text: &str) -> Result<String, String> {
    RoomId::new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn main(args: &Args) -> ExitCode {
    match token(args) {
        Ok(()) => exit::OK,
        Err(code) => code,
    }
}

fn token(args: &Args) -> Result<(), ExitCode> {
    let needs_config = args.secret_file.is_none() || (args.join && args.url.is_none());
    let config = if needs_config { Some(args.config.load(Flags::default())?.config) } else { None };
    let secret = secret(args.secret_file.as_deref(), config.as_ref())?;
    let bases = match (&args.url, &config) {
        (Some(url), _) => vec![url.clone()],
        (None, Some(config)) if args.join => addresses(config)?,
        _ => Vec::new(),
    };
    let now = SystemTime::now();
    let expires = match args.lifetime {
        Lifetime::Never => None,
        Lifetime::For(duration) => Some(now.checked_add(duration).ok_or_else(|| {
            tell("portico: --for is longer than the clock can tell; use `never`\n");
            ExitCode::from(exit::USAGE)
        })?),
    };
    let request = TokenRequest {
        rooms: RoomPattern::any_of(args.room.iter().map(String::as_str)),
        rights: args.rights.iter().copied().collect(),
        expires,
        subject: args.subject.clone(),
        user_id: args.user_id.clone(),
    };
    let token = sign(&request, &secret, now);
    let links: Vec<String> = bases.iter().map(|base| join_link(base, &args.room, &token)).collect();
    if args.json {
        let expires = expires.and_then(|end| end.duration_since(UNIX_EPOCH).ok()).map(|end| end.as_secs());
        let rights: Vec<Right> = request.rights.iter().collect();
        let mut told = json!({
            "token": token, "url": links.first(), "rooms": args.room, "rights": rights, "expires": expires, "subject": args.subject
        });
        if args.join {
            told["urls"] = json!(links);
        }
        print(&format!("{told:#}\n"));
        return Ok(());
    }
    match links.first() {
        None => print(&format!("{token}\n")),
        Some(_) => print(&format!("{}\n", links.join("\n"))),
    }
    if args.join {
        let fingerprint = config.filter(|config| args.url.is_none() && config.tls.enabled(config.is_local()));
        explain(&links, fingerprint.and_then(|config| tls::made_fingerprint(&config.tls)));
    }
    Ok(())
}

/// What belongs to links for people: the QR code, and what a browser will say.
fn explain(links: &[String], fingerprint: Option<tls::Fingerprint>) {
    match links.iter().find(|link| !announce::names_loopback(link)) {
        Some(link) => {
            if let Some(code) = announce::qr(link, colour(&std::io::stdout())) {
                print(&format!("{code}\n"));
            }
        }
        None => tell("portico: only this machine can open it: http.listen is a loopback address, or there is no network\n"),
    }
    if let Some(fingerprint) = fingerprint {
        let text = "The certificate is self-signed: the browser will warn once. Its SHA-256 fingerprint must be\n";
        print(&format!("{text}  {fingerprint}\n"));
    }
}

/// The page's addresses as the configuration has them; loopback is left out where others can reach the gateway.
fn addresses(config: &Config) -> Result<Vec<String>, ExitCode> {
    if config.http.listen.port() == 0 {
        tell("portico: the configuration lets the system choose the port (http.listen): name the address with --url\n");
        return Err(ExitCode::from(exit::USAGE));
    }
    let mut urls = announce::urls(config.http.listen, config.tls.enabled(config.is_local()), &machine_addresses());
    if urls.iter().any(|url| !announce::names_loopback(url)) {
        urls.retain(|url| !announce::names_loopback(url));
    }
    Ok(urls)
}

fn secret(file: Option<&Path>, config: Option<&Config>) -> Result<Secret, ExitCode> {
    let refused = |error: SecretError| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        tell(&format!("portico: {error}{cause}\n"));
        ExitCode::from(exit::CONFIG)
    };
    if let Some(file) = file {
        return read_secret(file).map_err(refused);
    }
    config.map(|config| config.access.secret().map_err(refused)).transpose()?.flatten().ok_or_else(|| {
        tell(
            "portico: there is no token secret. Make one and name it in the configuration:\n  \
             (umask 077; openssl rand -base64 32 > /etc/portico/token-secret)\n  \
             [access]\n  token_secret_file = \"/etc/portico/token-secret\"\nor name it with --secret-file FILE.\n",
        );
        ExitCode::from(exit::CONFIG)
    })
}

/// The page's address with the room and the token. The token stands behind `#`: it reaches neither server logs nor referrers.
pub fn join_link(base: &str, rooms: &[String], token: &str) -> String {
    let base = base.trim_end_matches('/');
    let room = match rooms {
        [room] if !room.contains('*') => format!("?room={}", percent_encoded(room)),
        _ => String::new(),
    };
    format!("{base}/{room}#token={token}")
}

/// Every byte that is not unreserved (RFC 3986 §2.3) as `%XX`.
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_the_room_when_there_is_one() {
        let link = |rooms: &[&str]| join_link("https://h:1/", &rooms.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>(), "T");
        assert_eq!(link(&["a b/ü"]), "https://h:1/?room=a%20b%2F%C3%BC#token=T");
        assert_eq!(link(&["house-*"]), "https://h:1/#token=T");
        assert_eq!(link(&["a", "b"]), "https://h:1/#token=T");
    }

    #[test]
    fn lifetimes_are_durations_or_never() {
        assert_eq!(lifetime("12h"), Ok(Lifetime::For(Duration::from_secs(43_200))));
        assert_eq!(lifetime("never"), Ok(Lifetime::Never));
        assert!(lifetime("0s").is_err() && lifetime("soon").is_err());
    }
}
