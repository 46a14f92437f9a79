//! PURE but for [`Processor::here`]. What the processor has that ciphers use, and which SRTP profile costs less with it.
//!
//! Both profiles are always there: this says only which one is taken where the far end knows both. What the libraries do with a
//! processor, and what was counted, is in `docs/design/media-plane.md`, "Which SRTP profile".

use serde::Serialize;

use super::protect::Suite;

/// A processor, as far as ciphers go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Processor {
    /// Instructions that ciphers could use, as the kernel names them (`aes`, `pmull`, `pclmulqdq`, `neon`, …), alphabetically.
    pub instructions: Vec<String>,
    /// How AES-GCM is computed on it.
    pub gcm: Means,
    /// Whether AES alone has instructions that are used.
    pub aes: bool,
}

/// What a cipher is computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Means {
    /// Instructions for AES and for the carry-less multiplication that GCM authenticates with.
    Instructions,
    /// The vector unit: NEON, SSSE3.
    Vector,
    /// Nothing special.
    Plain,
    /// The system does not tell.
    Unknown,
}

/// Which profile is preferred, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Preference {
    /// The one taken where the far end knows both.
    pub suite: Suite,
    /// For people.
    pub why: &'static str,
}

/// What is shown of a processor's instructions.
const SHOWN: [&str; 16] = [
    "aes",
    "asimd",
    "avx2",
    "avx512f",
    "neon",
    "pclmulqdq",
    "pmull",
    "sha1",
    "sha2",
    "sha_ni",
    "sse2",
    "ssse3",
    "sve",
    "vaes",
    "vpclmulqdq",
    "zvkned",
];

impl Processor {
    /// The processor of this machine, from `/proc/cpuinfo`.
    pub fn here() -> Self {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self::read(std::env::consts::ARCH, &text)
    }

    /// From the name of an architecture (as [`std::env::consts::ARCH`]) and the text of `/proc/cpuinfo`. Where cores differ, what all of
    /// them have counts: a thread moves between them.
    pub fn read(arch: &str, cpuinfo: &str) -> Self {
        let key = if arch.starts_with("x86") { "flags" } else { "Features" };
        let cores = cpuinfo.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim_end() == key);
        let mut cores = cores.map(|(_, words)| words.split_ascii_whitespace());
        let Some(first) = cores.next() else {
            return Self { instructions: Vec::new(), gcm: Means::Unknown, aes: false };
        };
        let mut common: Vec<&str> = first.collect();
        for core in cores {
            let core: Vec<&str> = core.collect();
            common.retain(|word| core.contains(word));
        }
        let has = |word: &str| common.contains(&word);
        // what `ring` and `aes` look for, per architecture; for 32-bit ARM they have nothing but NEON
        let (aes, multiplies, vector) = match arch {
            "x86_64" | "x86" => (has("aes"), has("pclmulqdq"), has("ssse3")),
            "aarch64" => (has("aes"), has("pmull"), has("asimd")),
            "arm" => (false, false, has("neon")),
            _ => (false, false, false),
        };
        let gcm = match (aes && multiplies, vector) {
            (true, _) => Means::Instructions,
            (false, true) => Means::Vector,
            (false, false) => Means::Plain,
        };
        let instructions = SHOWN.iter().filter(|word| has(word)).map(|word| (*word).to_owned()).collect();
        Self { instructions, gcm, aes }
    }

    /// The cheaper profile.
    pub fn preference(&self) -> Preference {
        let (suite, why) = match (self.gcm, self.aes) {
            (Means::Instructions, _) => (Suite::Gcm, "the processor has instructions for AES and for GCM's multiplication"),
            (Means::Unknown, _) => (Suite::Gcm, "the system does not tell what the processor has"),
            (_, true) => (Suite::Cm, "the processor has instructions for AES, but not for GCM's multiplication"),
            (Means::Vector, false) => (Suite::Gcm, "without AES instructions GCM on the vector unit costs less than AES_CM"),
            (Means::Plain, false) => (Suite::Cm, "without AES instructions and without a vector unit AES_CM costs less"),
        };
        Preference { suite, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of `/proc/cpuinfo` that names features, of each machine, as its kernel writes it. Of knowledge of the kernels, not copied from boards.
    const KNOWN: [(&str, &str, &str, Means, Suite); 12] = [
        ("Raspberry Pi 1, Zero", "arm", "Features\t: half thumb fastmult vfp edsp java tls", Means::Plain, Suite::Cm),
        ("Raspberry Pi 3", "aarch64", "Features\t: fp asimd evtstrm crc32 cpuid", Means::Vector, Suite::Gcm),
        ("Raspberry Pi 4", "aarch64", "Features\t: fp asimd evtstrm crc32 cpuid", Means::Vector, Suite::Gcm),
        (
            "Raspberry Pi 4, 32-bit system",
            "arm",
            "Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32",
            Means::Vector,
            Suite::Gcm,
        ),
        (
            "Raspberry Pi 5",
            "aarch64",
            "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
            Means::Instructions,
            Suite::Gcm,
        ),
        (
            "Raspberry Pi 5, 32-bit system",
            "arm",
            "Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm aes pmull sha1 sha2 crc32",
            Means::Vector,
            Suite::Gcm,
        ),
        (
            "Jetson Orin",
            "aarch64",
            "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp uscat \
             ilrcpc flagm paca pacg",
            Means::Instructions,
            Suite::Gcm,
        ),
        (
            "RK3588, both kinds of core",
            "aarch64",
            "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\n\
             Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
            Means::Instructions,
            Suite::Gcm,
        ),
        (
            "EPYC",
            "x86_64",
            "flags\t\t: fpu sse sse2 ht nx lm pni pclmulqdq ssse3 fma cx16 sse4_1 sse4_2 movbe aes avx avx2 sha_ni vaes vpclmulqdq",
            Means::Instructions,
            Suite::Gcm,
        ),
        ("Core 2", "x86_64", "flags\t\t: fpu mmx sse sse2 ss ht pni monitor ds_cpl ssse3 cx16 sse4_1", Means::Vector, Suite::Gcm),
        ("Athlon 64", "x86_64", "flags\t\t: fpu mmx fxsr sse sse2 syscall nx mmxext lm 3dnowext", Means::Plain, Suite::Cm),
        ("a PC's file read on a board's program", "aarch64", "flags\t\t: fpu sse2 aes pclmulqdq", Means::Unknown, Suite::Gcm),
    ];

    #[test]
    fn known_machines_get_the_cheaper_profile() {
        for (machine, arch, cpuinfo, gcm, suite) in KNOWN {
            let processor = Processor::read(arch, &format!("processor\t: 0\n{cpuinfo}\nCPU part\t: 0xd08\n"));
            assert_eq!((processor.gcm, processor.preference().suite), (gcm, suite), "{machine}");
        }
    }

    #[test]
    fn what_one_core_lacks_no_thread_may_count_on() {
        let cpuinfo = "Features\t: fp asimd aes pmull\nFeatures\t: fp asimd\n";
        assert_eq!(Processor::read("aarch64", cpuinfo).gcm, Means::Vector);
    }

    #[test]
    fn aes_alone_speaks_for_counter_mode() {
        let processor = Processor::read("aarch64", "Features\t: fp asimd aes");
        assert_eq!((processor.gcm, processor.preference().suite), (Means::Vector, Suite::Cm));
    }

    #[test]
    fn instructions_are_named_as_the_kernel_does() {
        let processor = Processor::read("aarch64", KNOWN[4].2);
        assert_eq!(processor.instructions, ["aes", "asimd", "pmull", "sha1", "sha2"]);
        assert_eq!(Processor::read("riscv64", "isa\t: rv64imafdc").preference().suite, Suite::Gcm, "nothing is told");
    }
}
