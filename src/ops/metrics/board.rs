//! How the board is: temperatures, and whether it slows itself down. Read from sysfs at each scrape.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Most thermal zones and hardware monitors looked at. Boards have up to a dozen.
const MOST: usize = 64;

/// What a Raspberry Pi's firmware tells (`vcgencmd get_throttled`): bit, and 16 more for "since the start".
const FLAGS: [(u32, &str); 4] = [(0, "under_voltage"), (1, "frequency_capped"), (2, "throttled"), (3, "soft_temperature_limit")];
/// Where since Linux 4.14 of Raspberry Pi, in hexadecimal digits.
const FIRMWARE: &str = "devices/platform/soc/soc:firmware/get_throttled";

/// How the board is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BoardFigures {
    /// Degrees Celsius, by the kernel's name of the zone; of several of a name the hottest.
    pub temperatures: BTreeMap<String, f64>,
    /// Where the kernel begins to slow things down, degrees Celsius, by zone: the highest of its passive trip points.
    pub limits: BTreeMap<String, f64>,
    /// Reasons to be slow: now, and at some time since the start. Empty where the board does not tell.
    pub throttled: BTreeMap<&'static str, Throttled>,
    /// How often the current was too high (Jetson's `soctherm_oc`); `None` where the board does not tell.
    pub over_currents: Option<u64>,
}

/// One reason to be slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// It holds now.
    pub now: bool,
    /// It held since the start; `None` where only the present is told.
    pub since_start: Option<bool>,
}

impl BoardFigures {
    /// Now. `sys` is `/sys`. What is not there, or cannot be read, is left out.
    pub fn now(sys: &Path) -> Self {
        let mut figures = Self::default();
        for zone in entries(&sys.join("class/thermal"), "thermal_zone") {
            let (Some(name), Some(milli)) = (word(&zone.join("type")), number::<f64>(&zone.join("temp"))) else { continue };
            if let Some(limit) = passive(&zone) {
                let lowest = figures.limits.entry(name.clone()).or_insert(f64::INFINITY);
                *lowest = lowest.min(limit);
            }
            let hottest = figures.temperatures.entry(name).or_insert(f64::NEG_INFINITY);
            *hottest = hottest.max(milli / 1000.0);
        }
        let monitors = entries(&sys.join("class/hwmon"), "hwmon");
        if let Some(bits) = word(&sys.join(FIRMWARE)).and_then(|text| bits(&text)) {
            let flag = |bit: u32| Throttled { now: bits >> bit & 1 == 1, since_start: Some(bits >> (bit + 16) & 1 == 1) };
            figures.throttled.extend(FLAGS.map(|(bit, name)| (name, flag(bit))));
        } else if let Some(alarm) = named(&monitors, "rpi_volt").find_map(|it| number::<u8>(&it.join("in0_lcrit_alarm"))) {
            figures.throttled.insert("under_voltage", Throttled { now: alarm != 0, since_start: None });
        }
        for monitor in named(&monitors, "soctherm_oc") {
            let counts = entries(monitor, "oc").into_iter().filter(|file| file.to_string_lossy().ends_with("_event_cnt"));
            for count in counts.filter_map(|file| number::<u64>(&file)) {
                *figures.over_currents.get_or_insert(0) += count;
            }
        }
        figures
    }
}

/// The highest passive trip point of a zone, degrees Celsius (Linux, Documentation/driver-api/thermal/sysfs-api.rst). Of several the lower
/// ones are where a governor begins to watch.
fn passive(zone: &Path) -> Option<f64> {
    let kinds = entries(zone, "trip_point_").into_iter().filter(|file| file.to_string_lossy().ends_with("_type"));
    let passive = kinds.filter(|file| word(file).as_deref() == Some("passive"));
    let beside = |file: PathBuf| Some(file.with_file_name(file.file_name()?.to_str()?.replace("_type", "_temp")));
    let at = passive.filter_map(beside).filter_map(|file| number::<f64>(&file));
    at.map(|milli| milli / 1000.0).reduce(f64::max)
}

/// What is in a folder under names that begin so, in order.
fn entries(folder: &Path, begin: &str) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
    let found = found.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(begin));
    let mut found: Vec<PathBuf> = found.map(|entry| entry.path()).take(MOST).collect();
    found.sort();
    found
}

/// The hardware monitors of this name.
fn named<'a>(monitors: &'a [PathBuf], name: &'a str) -> impl Iterator<Item = &'a PathBuf> {
    monitors.iter().filter(move |monitor| word(&monitor.join("name")).as_deref() == Some(name))
}

fn word(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.trim().to_owned()).filter(|word| !word.is_empty())
}

fn number<T: std::str::FromStr>(file: &Path) -> Option<T> {
    word(file)?.parse().ok()
}

fn bits(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim_start_matches("throttled=").trim_start_matches("0x"), 16).ok()
}

/// Puts [`BoardFigures`] on the page of metrics.
#[derive(Debug)]
pub(super) struct BoardCollector {
    /// `/sys`.
    pub sys: PathBuf,
}

impl Collector for BoardCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let figures = BoardFigures::now(&self.sys);
        let gauge = ConstGauge::new(0.0_f64).metric_type();
        let help = "Temperatures of the board, by the kernel's `zone`";
        let mut temperatures = encoder.encode_descriptor("portico_board_temperature", help, Some(&Unit::Celsius), gauge)?;
        for (zone, celsius) in &figures.temperatures {
            ConstGauge::new(*celsius).encode(temperatures.encode_family(&[("zone", zone.as_str())])?)?;
        }
        let flags = FLAGS.map(|(_, name)| name).join(", ");
        let help = format!("Whether the board slows itself down, by `flag` ({flags}) and `since` (now, start), where it tells");
        let mut throttled = encoder.encode_descriptor("portico_board_throttled", &help, None, gauge)?;
        for (flag, state) in &figures.throttled {
            for (since, held) in [("now", Some(state.now)), ("start", state.since_start)] {
                let Some(held) = held else { continue };
                ConstGauge::new(i64::from(held)).encode(throttled.encode_family(&[("flag", *flag), ("since", since)])?)?;
            }
        }
        let counter = ConstCounter::new(0_u64).metric_type();
        let help = "How often the board's current was too high, where it tells";
        let over_currents = encoder.encode_descriptor("portico_board_over_currents", help, None, counter)?;
        figures.over_currents.map_or(Ok(()), |count| ConstCounter::new(count).encode(over_currents))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder like `/sys` with these files.
    fn sys(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        folder
    }

    #[test]
    fn a_raspberry_pi_tells_all_flags() {
        let sys = sys(&[
            ("class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("class/thermal/thermal_zone0/temp", "61823\n"),
            ("devices/platform/soc/soc:firmware/get_throttled", "50005\n"),
            ("class/hwmon/hwmon1/name", "rpi_volt\n"),
            ("class/hwmon/hwmon1/in0_lcrit_alarm", "1\n"),
        ]);
        let figures = BoardFigures::now(sys.path());
        assert_eq!(figures.temperatures, BTreeMap::from([("cpu-thermal".to_owned(), 61.823)]));
        let held = Throttled { now: true, since_start: Some(true) };
        let never = Throttled { now: false, since_start: Some(false) };
        let expected =
            [("under_voltage", held), ("frequency_capped", never), ("throttled", held), ("soft_temperature_limit", never)];
        assert_eq!((figures.throttled, figures.over_currents), (expected.into(), None));
    }

    #[test]
    fn a_kernel_without_the_firmwares_word_tells_of_the_voltage() {
        let sys = sys(&[
            ("class/hwmon/hwmon0/name", "cpu_thermal\n"),
            ("class/hwmon/hwmon2/name", "rpi_volt\n"),
            ("class/hwmon/hwmon2/in0_lcrit_alarm", "1\n"),
        ]);
        let expected = Throttled { now: true, since_start: None };
        assert_eq!(BoardFigures::now(sys.path()).throttled, [("under_voltage", expected)].into());
    }

    #[test]
    fn a_jetson_tells_temperatures_and_over_currents() {
        let sys = sys(&[
            ("class/thermal/thermal_zone0/type", "cpu-thermal"),
            ("class/thermal/thermal_zone0/temp", "48000"),
            ("class/thermal/thermal_zone1/type", "gpu-thermal"),
            ("class/thermal/thermal_zone1/temp", "-1500"),
            ("class/thermal/thermal_zone2/type", "gpu-thermal"),
            ("class/thermal/thermal_zone2/temp", "45250"),
            ("class/thermal/thermal_zone3/type", "cv0-thermal"),
            ("class/hwmon/hwmon3/name", "soctherm_oc"),
            ("class/hwmon/hwmon3/oc1_event_cnt", "2"),
            ("class/hwmon/hwmon3/oc2_event_cnt", "1"),
            ("class/hwmon/hwmon3/oc1_throt_en", "1"),
        ]);
        let figures = BoardFigures::now(sys.path());
        let temperatures = [("cpu-thermal".to_owned(), 48.0), ("gpu-thermal".to_owned(), 45.25)];
        assert_eq!((figures.temperatures, figures.over_currents), (temperatures.into(), Some(3)));
    }

    #[test]
    fn a_zone_tells_where_it_is_slowed_down() {
        let sys = sys(&[
            ("class/thermal/thermal_zone0/type", "soc-thermal"),
            ("class/thermal/thermal_zone0/temp", "61000"),
            ("class/thermal/thermal_zone0/trip_point_0_type", "passive"),
            ("class/thermal/thermal_zone0/trip_point_0_temp", "75000"),
            ("class/thermal/thermal_zone0/trip_point_1_type", "passive"),
            ("class/thermal/thermal_zone0/trip_point_1_temp", "85000"),
            ("class/thermal/thermal_zone0/trip_point_2_type", "critical"),
            ("class/thermal/thermal_zone0/trip_point_2_temp", "115000"),
            ("class/thermal/thermal_zone1/type", "gpu-thermal"),
            ("class/thermal/thermal_zone1/temp", "50000"),
        ]);
        assert_eq!(BoardFigures::now(sys.path()).limits, [("soc-thermal".to_owned(), 85.0)].into());
    }

    #[test]
    fn nonsense_is_left_out() {
        let sys = sys(&[
            ("class/thermal/thermal_zone0/type", ""),
            ("class/thermal/thermal_zone0/temp", "1"),
            ("class/thermal/thermal_zone1/type", "x"),
            ("class/thermal/thermal_zone1/temp", "hot"),
            ("devices/platform/soc/soc:firmware/get_throttled", "zz"),
        ]);
        assert_eq!(BoardFigures::now(sys.path()), BoardFigures::default());
        assert_eq!(BoardFigures::now(Path::new("/nothing/is/here")), BoardFigures::default());
    }

    #[test]
    fn the_page_has_them() {
        let sys = sys(&[
            ("class/thermal/thermal_zone0/type", "cpu-thermal"),
            ("class/thermal/thermal_zone0/temp", "61823"),
            ("devices/platform/soc/soc:firmware/get_throttled", "0x1"),
        ]);
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(BoardCollector { sys: sys.path().to_owned() }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "portico_board_temperature_celsius{zone=\"cpu-thermal\"} 61.823",
            "portico_board_throttled{flag=\"under_voltage\",since=\"now\"} 1",
            "portico_board_throttled{flag=\"under_voltage\",since=\"start\"} 0",
            "# TYPE portico_board_over_currents counter",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
