//! PURE. Whether a board is too hot, by what it tells of itself.

use super::Pressure;

/// A zone has room again when it is so much cooler than its limit, degrees.
pub const ROOM: f64 = 5.0;
/// Limits outside this range are placeholders of drivers, degrees.
const LIMITS: std::ops::RangeInclusive<f64> = 40.0..=125.0;

/// What a board tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Warmth {
    /// Its thermal zones.
    pub zones: Vec<Zone>,
    /// What makes it slow itself down right now (`throttled`, `frequency_capped`, …), as it tells.
    pub flags: Vec<&'static str>,
}

/// A thermal zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// The kernel's name of it.
    pub name: String,
    /// Degrees Celsius.
    pub celsius: f64,
    /// Where the kernel begins to slow things down, degrees Celsius; `None` where it names no such limit.
    pub limit: Option<f64>,
}

/// Flags that mean that clocks are being cut. `soft_temperature_limit` comes first and costs little: more must not be asked for then,
/// and nothing is taken away.
const CUTS: [&str; 2] = ["throttled", "frequency_capped"];

/// Judges. `hot` is the limit of zones without one of their own, degrees Celsius.
pub fn judge(warmth: &Warmth, hot: f64) -> Pressure {
    if let Some(flag) = warmth.flags.iter().find(|flag| CUTS.contains(flag)) {
        return Pressure::Over(format!("the board slows itself down: {flag}"));
    }
    let limit = |zone: &Zone| zone.limit.filter(|limit| LIMITS.contains(limit)).unwrap_or(hot);
    // how far each is above its limit
    let above = |zone: &Zone| if zone.celsius.is_finite() { zone.celsius - limit(zone) } else { f64::NEG_INFINITY };
    let worst = warmth.zones.iter().max_by(|a, b| above(a).total_cmp(&above(b)));
    match worst {
        Some(zone) if above(zone) >= 0.0 => {
            Pressure::Over(format!("{} is at {:.0} °C, its limit is {:.0} °C", zone.name, zone.celsius, limit(zone)))
        }
        Some(zone) if above(zone) > -ROOM => Pressure::Steady,
        _ if !warmth.flags.is_empty() => Pressure::Steady,
        _ => Pressure::Relieved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(celsius: f64, limit: Option<f64>) -> Zone {
        Zone { name: "cpu-thermal".into(), celsius, limit }
    }

    #[test]
    fn zones_and_flags_are_judged() {
        let of = |zones: &[Zone], flags: &[&'static str]| judge(&Warmth { zones: zones.into(), flags: flags.into() }, 90.0);
        let is_over = |pressure: Pressure| matches!(pressure, Pressure::Over(_));
        for (zones, flags, expected) in [
            (vec![], vec![], Pressure::Relieved),
            (vec![zone(60.0, None)], vec![], Pressure::Relieved),
            (vec![zone(86.0, None)], vec![], Pressure::Steady),
            (vec![zone(60.0, None), zone(82.0, Some(85.0))], vec![], Pressure::Steady),
            // placeholders of drivers are no limits
            (vec![zone(60.0, Some(0.0)), zone(60.0, Some(-274.0))], vec![], Pressure::Relieved),
            (vec![zone(f64::NAN, None)], vec![], Pressure::Relieved),
            (vec![zone(60.0, None)], vec!["soft_temperature_limit"], Pressure::Steady),
        ] {
            assert_eq!(of(&zones, &flags), expected, "{zones:?} {flags:?}");
        }
        assert!(is_over(of(&[zone(90.0, None)], &[])));
        assert!(is_over(of(&[zone(40.0, None), zone(85.5, Some(85.0))], &[])));
        assert!(is_over(of(&[zone(40.0, None)], &["under_voltage", "frequency_capped"])));
        let Pressure::Over(reason) = of(&[zone(97.4, Some(95.0))], &[]) else { panic!() };
        assert_eq!(reason, "cpu-thermal is at 97 °C, its limit is 95 °C");
    }
}
