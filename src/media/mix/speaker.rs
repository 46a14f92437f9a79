//! PURE. Who speaks: the loudest for long enough, and not another one at each cough.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What is quieter than this is no speech, in dB below full scale. Rooms hum at -60, people speak at -30 to -10.
pub const SILENCE: f32 = -45.0;
/// Who takes over from somebody who speaks must be so much louder, in dB.
const LOUDER: f32 = 6.0;
/// And for so long: a cough and a chair are shorter.
const CHALLENGE: Duration = Duration::from_millis(600);
/// Nobody takes over sooner than this after the last change, so that a quarrel does not make the picture flicker.
const HOLD: Duration = Duration::from_millis(1500);
/// How fast a level falls, in dB per second: the pauses between words are bridged.
const FALL: f32 = 30.0;

/// Hears everybody's level and says who speaks.
#[derive(Debug)]
pub struct Speakers<K> {
    heard: BTreeMap<K, Heard>,
    speaks: Option<K>,
    since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    /// In dB; rises at once, falls slowly.
    level: f32,
    at: Instant,
    /// Since when it would take over.
    challenges: Option<Instant>,
}

impl<K> Default for Speakers<K> {
    fn default() -> Self {
        Self { heard: BTreeMap::new(), speaks: None, since: None }
    }
}

impl<K: Clone + Ord> Speakers<K> {
    /// Somebody is so loud now, in dB (0 is full scale).
    pub fn hear(&mut self, now: Instant, who: &K, level: f32) {
        let heard = self.heard.entry(who.clone()).or_insert(Heard { level: f32::NEG_INFINITY, at: now, challenges: None });
        let fallen = heard.level - FALL * now.saturating_duration_since(heard.at).as_secs_f32();
        (heard.level, heard.at) = (level.max(fallen), now);
    }

    /// Only these are there.
    pub fn keep(&mut self, there: impl Fn(&K) -> bool) {
        self.heard.retain(|who, _| there(who));
        self.speaks = self.speaks.take().filter(|who| there(who));
    }

    /// Who speaks, or spoke last. To be asked again with every level that is heard.
    pub fn speaker(&mut self, now: Instant) -> Option<&K> {
        let threshold = match self.speaks.as_ref().and_then(|who| self.heard.get(who)) {
            Some(heard) if heard.level > SILENCE => heard.level + LOUDER,
            _ => SILENCE,
        };
        let mut best: Option<(&K, f32)> = None;
        for (who, heard) in &mut self.heard {
            let louder = self.speaks.as_ref() != Some(who) && heard.level > threshold;
            heard.challenges = louder.then(|| heard.challenges.unwrap_or(now));
            let long_enough = heard.challenges.is_some_and(|since| now.saturating_duration_since(since) >= CHALLENGE);
            if long_enough && best.is_none_or(|(_, level)| heard.level > level) {
                best = Some((who, heard.level));
            }
        }
        let held = self.since.is_some_and(|since| now.saturating_duration_since(since) < HOLD);
        if let Some((who, _)) = best.filter(|_| !held) {
            (self.speaks, self.since) = (Some(who.clone()), Some(now));
        }
        self.speaks.as_ref()
    }
}

/// How loud a block of samples is, in dB below full scale.
pub fn level(samples: &[i16]) -> f32 {
    if samples.is_empty() {
        return f32::NEG_INFINITY;
    }
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample) * f64::from(*sample)).sum();
    let mean = energy / samples.len() as f64;
    (10.0 * (mean / (32768.0 * 32768.0)).log10()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels of `a` and `b` each 20 ms over a while; what was said at its end.
    fn talk(speakers: &mut Speakers<char>, now: &mut Instant, ms: u64, a: f32, b: f32) -> Option<char> {
        let mut said = None;
        for _ in 0..ms / 20 {
            *now += Duration::from_millis(20);
            speakers.hear(*now, &'a', a);
            speakers.hear(*now, &'b', b);
            said = speakers.speaker(*now).copied();
        }
        said
    }

    #[test]
    fn the_first_to_speak_is_the_speaker_and_stays_when_it_falls_silent() {
        let (mut speakers, mut now) = (Speakers::default(), Instant::now());
        assert_eq!(talk(&mut speakers, &mut now, 2000, -70.0, -70.0), None);
        assert_eq!(talk(&mut speakers, &mut now, 400, -20.0, -70.0), None, "a cough");
        assert_eq!(talk(&mut speakers, &mut now, 400, -20.0, -70.0), Some('a'));
        assert_eq!(talk(&mut speakers, &mut now, 5000, -70.0, -70.0), Some('a'));
    }

    #[test]
    fn another_takes_over_once_it_is_louder_for_long_enough() {
        let (mut speakers, mut now) = (Speakers::default(), Instant::now());
        talk(&mut speakers, &mut now, 3000, -20.0, -70.0);
        assert_eq!(talk(&mut speakers, &mut now, 3000, -20.0, -18.0), Some('a'), "not by so little");
        assert_eq!(talk(&mut speakers, &mut now, 400, -20.0, -10.0), Some('a'), "not at once");
        assert_eq!(talk(&mut speakers, &mut now, 400, -20.0, -10.0), Some('b'));
        assert_eq!(talk(&mut speakers, &mut now, 1000, 0.0, -30.0), Some('b'), "not so soon again");
        assert_eq!(talk(&mut speakers, &mut now, 1000, 0.0, -30.0), Some('a'));
    }

    #[test]
    fn pauses_between_words_change_nothing_and_silence_lets_another_in() {
        let (mut speakers, mut now) = (Speakers::default(), Instant::now());
        talk(&mut speakers, &mut now, 3000, -20.0, -70.0);
        for _ in 0..20 {
            talk(&mut speakers, &mut now, 200, -70.0, -25.0);
            assert_eq!(talk(&mut speakers, &mut now, 200, -20.0, -25.0), Some('a'));
        }
        assert_eq!(talk(&mut speakers, &mut now, 3000, -70.0, -40.0), Some('b'), "quieter, and the only one");
    }

    #[test]
    fn who_left_does_not_speak() {
        let (mut speakers, mut now) = (Speakers::default(), Instant::now());
        talk(&mut speakers, &mut now, 3000, -20.0, -70.0);
        speakers.keep(|who| *who == 'b');
        assert_eq!(speakers.speaker(now), None);
    }

    #[test]
    fn levels_are_below_full_scale() {
        assert!(level(&[i16::MIN; 960]).abs() < 0.01);
        assert!((level(&[3277; 960]) + 20.0).abs() < 0.1);
        assert_eq!(level(&[0; 960]), f32::NEG_INFINITY);
        assert_eq!(level(&[]), f32::NEG_INFINITY);
    }
}
