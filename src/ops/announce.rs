//! What is told at start: where the page is, and a QR code for phones.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use super::net::is_loopback;

/// The page's addresses for a listener, best first. An unspecified listen address stands for every address of the machine
/// (`addresses`, as from [`machine_addresses`](super::net::machine_addresses)) of its family; `[::]` takes IPv4 as well.
pub fn urls(listen: SocketAddr, tls: bool, addresses: &[IpAddr]) -> Vec<String> {
    let scheme = if tls { "https" } else { "http" };
    let url = |address: IpAddr| format!("{scheme}://{}/", SocketAddr::new(address, listen.port()));
    if !listen.ip().is_unspecified() {
        return vec![url(listen.ip())];
    }
    addresses.iter().filter(|address| listen.is_ipv6() || address.is_ipv4()).map(|address| url(*address)).collect()
}

/// A QR code of a text in block characters, two modules each, dark on light whatever the terminal's colours when `colour`.
/// `None` when the text is too long for one.
pub fn qr(text: &str, colour: bool) -> Option<String> {
    // little error correction: a screen has no scratches, and a link with a token is long
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    if !colour {
        // light blocks are drawn: right on the usual dark terminal
        return Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build());
    }
    let drawn = code.render::<Dense1x2>().dark_color(Dense1x2::Dark).light_color(Dense1x2::Light).build();
    Some(drawn.lines().map(|line| format!("\x1b[30;107m{line}\x1b[0m")).collect::<Vec<_>>().join("\n"))
}

/// The lines printed at start: addresses, the fingerprint to compare where the certificate is self-signed, and the QR code of
/// the first address that a phone can reach; where there is none, that is said.
pub fn welcome(urls: &[String], fingerprint: Option<&str>, with_qr: bool, colour: bool) -> String {
    let mut text = String::new();
    for (index, url) in urls.iter().enumerate() {
        text.push_str(if index == 0 { "Portico is at  " } else { "           or  " });
        text.push_str(url);
        text.push('\n');
    }
    if let Some(fingerprint) = fingerprint {
        text.push_str("The certificate is self-signed: the browser will warn once. Its SHA-256 fingerprint must be\n");
        text.push_str(&format!("  {fingerprint}\n"));
    }
    let reachable = urls.iter().find(|url| !names_loopback(url));
    if reachable.is_none() {
        text.push_str("Only this machine can open it; `portico help run` shows how to let others in.\n");
    }
    if let Some(code) = reachable.filter(|_| with_qr).and_then(|url| qr(url, colour)) {
        text.push_str(&code);
        text.push('\n');
    }
    text
}

/// The lines that invite: a link that holds for so long, and its QR code where a phone can open it.
pub fn invitation(link: &str, holds: Duration, colour: bool) -> String {
    let mut text = format!("Join within {}:\n{link}\n", humantime::format_duration(Duration::from_secs(holds.as_secs())));
    if let Some(code) = Some(link).filter(|link| !names_loopback(link)).and_then(|link| qr(link, colour)) {
        text.push_str(&code);
        text.push('\n');
    }
    text
}

/// Whether an address is one that only this machine can open.
pub fn names_loopback(url: &str) -> bool {
    let authority = url.split('/').nth(2).unwrap_or_default();
    authority.parse::<SocketAddr>().is_ok_and(|address| is_loopback(address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Vec<IpAddr> {
        ["192.168.1.7", "fd00::7", "127.0.0.1"].map(|a| a.parse().unwrap()).to_vec()
    }

    #[test]
    fn an_unspecified_address_stands_for_all_of_its_family() {
        let of = |listen: &str| urls(listen.parse().unwrap(), true, &addresses());
        assert_eq!(of("0.0.0.0:8780"), ["https://192.168.1.7:8780/", "https://127.0.0.1:8780/"]);
        assert_eq!(of("[::]:1"), ["https://192.168.1.7:1/", "https://[fd00::7]:1/", "https://127.0.0.1:1/"]);
        assert_eq!(urls("127.0.0.1:8780".parse().unwrap(), false, &[]), ["http://127.0.0.1:8780/"]);
    }

    #[test]
    fn a_qr_code_is_drawn_only_for_what_a_phone_can_reach() {
        let all = urls("0.0.0.0:8780".parse().unwrap(), true, &addresses());
        let text = welcome(&all, Some("AB:CD"), true, false);
        assert!(text.contains("https://192.168.1.7:8780/") && text.contains("AB:CD") && text.contains('█'));
        let here = urls("127.0.0.1:8780".parse().unwrap(), false, &[]);
        let told = welcome(&here, None, true, false);
        assert!(told.starts_with("Portico is at  http://127.0.0.1:8780/\nOnly this machine") && !told.contains('█'));
        assert!(!welcome(&all, None, false, false).contains('█'));
    }

    #[test]
    fn an_invitation_has_the_link_in_a_line_of_its_own_and_as_a_code() {
        let text = invitation("https://192.168.1.7:8780/#token=T", Duration::from_millis(3_600_500), false);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("Join within 1h:"));
        assert_eq!(lines.next(), Some("https://192.168.1.7:8780/#token=T"));
        let code: Vec<&str> = lines.collect();
        assert!(code.len() > 10 && code[0].chars().all(|c| c == '█'), "{text}");
        assert!(!invitation("http://127.0.0.1:8780/#token=T", Duration::from_secs(60), false).contains('█'));
    }
}
