//! Sound cards from `/proc/asound`, named so that they stay: `hw:CARD=NAME,DEV=N`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

/// One PCM device of a sound card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SoundDevice {
    /// ALSA's name of it, by the card's id and not its number: what `audio_device` in the configuration takes.
    pub device: String,
    /// The card's name for people.
    pub card: String,
    /// What the device is called on its card.
    pub name: String,
    /// True when sound can be taken from it.
    pub capture: bool,
    /// True when sound can be played on it.
    pub playback: bool,
}

/// The sound devices of this machine, by card and device number. Empty on machines without ALSA.
pub fn sound_devices() -> Vec<SoundDevice> {
    let read = |file: &str| std::fs::read(Path::new("/proc/asound").join(file)).unwrap_or_default();
    parse(&String::from_utf8_lossy(&read("cards")), &String::from_utf8_lossy(&read("pcm")))
}

/// `cards` is two lines per card (` 0 [PCH            ]: HDA-Intel - HDA Intel PCH`, then where it is), `pcm` one per device
/// (`00-00: ALC269 Analog : ALC269 Analog : playback 1 : capture 1`); Linux sound/core/init.c and pcm.c. Lines of any other form
/// are skipped.
fn parse(cards: &str, pcm: &str) -> Vec<SoundDevice> {
    let cards: BTreeMap<u32, (&str, &str)> = cards.lines().filter_map(card).collect();
    let device = |line: &str| {
        let mut fields = line.split(": ").map(str::trim);
        let (card, device) = fields.next()?.split_once('-')?;
        let (card, device): (u32, u32) = (card.parse().ok()?, device.parse().ok()?);
        let id = fields.next()?;
        let rest: Vec<_> = fields.collect();
        let has = |what: &str| rest.iter().any(|field| field.starts_with(what));
        let (short, long) = cards.get(&card)?;
        Some(SoundDevice {
            device: format!("hw:CARD={short},DEV={device}"),
            card: (*long).to_owned(),
            name: id.to_owned(),
            capture: has("capture"),
            playback: has("playback"),
        })
    };
    pcm.lines().filter_map(device).collect()
}

fn card(line: &str) -> Option<(u32, (&str, &str))> {
    let (number, rest) = line.split_once('[')?;
    let (id, rest) = rest.split_once("]:")?;
    let name = rest.split_once(" - ").map_or(rest, |(_, name)| name);
    Some((number.trim().parse().ok()?, (id.trim(), name.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARDS: &str = " 0 [PCH            ]: HDA-Intel - HDA Intel PCH\n                      HDA Intel PCH at 0xf7f10000 irq 31\n \
                         1 [C920           ]: USB-Audio - HD Pro Webcam C920\n                      HD Pro Webcam C920 at usb-1\n";
    const PCM: &str = "00-00: ALC269 Analog : ALC269 Analog : playback 1 : capture 1\n00-03: HDMI 0 : HDMI 0 : playback 1\n\
                       01-00: USB Audio : USB Audio : capture 1\n";

    #[test]
    fn cards_and_devices_get_names_that_stay() {
        let devices = parse(CARDS, PCM);
        let short: Vec<_> = devices.iter().map(|d| (d.device.as_str(), d.capture, d.playback)).collect();
        assert_eq!(
            short,
            [("hw:CARD=PCH,DEV=0", true, true), ("hw:CARD=PCH,DEV=3", false, true), ("hw:CARD=C920,DEV=0", true, false)]
        );
        assert_eq!((devices[2].card.as_str(), devices[2].name.as_str()), ("HD Pro Webcam C920", "USB Audio"));
    }

    #[test]
    fn no_card_and_odd_lines_give_nothing() {
        assert!(parse("--- no soundcards ---\n", "").is_empty());
        assert!(parse(CARDS, "xx: y\n07-00: z : z : capture 1\n").is_empty());
    }
}
