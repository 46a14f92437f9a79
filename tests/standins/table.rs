//! The elements, as the board files and their sources tell them.

use gstreamer as gst;

use super::spec::{Decoder, Encoder, Kind, Settings};

/// What a level 4 encoder takes at most.
const FULL_HD: (u32, u32) = (1920, 1088);

fn always(_: &Settings) -> bool {
    true
}

fn size_within(size: (u32, u32), low: (u32, u32), high: (u32, u32)) -> Option<String> {
    let fits = size.0 >= low.0 && size.1 >= low.1 && size.0 <= high.0 && size.1 <= high.1;
    (!fits).then(|| format!("cannot encode {}x{}", size.0, size.1))
}

/// Whether what stands behind wants this in a field.
fn wants(caps: &gst::Caps, field: &str, value: &str) -> bool {
    caps.iter().any(|structure| structure.get::<&str>(field).is_ok_and(|have| have == value))
}

fn baseline_by_caps(_: &Settings, caps: &gst::Caps) -> bool {
    wants(caps, "profile", "constrained-baseline") || wants(caps, "profile", "baseline")
}

/// bcm2835-codec behind GStreamer before 1.30: everything is a control, the level must be asked for.
pub static V4L2: Encoder = Encoder {
    element: "v4l2h264enc",
    sink: "video/x-raw,format={I420,NV12,NV21,YUY2,UYVY}",
    properties: &[("extra-controls", Kind::Controls)],
    signal: None,
    bitrate: |it| it.control("extra-controls", "video_bitrate").unwrap_or(10_000_000),
    repeats_headers: |it| it.control("extra-controls", "repeat_sequence_header") == Some(1),
    is_baseline: baseline_by_caps,
    refuses: |it, size, caps| {
        if !wants(caps, "level", "4") {
            return Some("Failed enabling i/p port: ret -3".into());
        }
        let known = ["repeat_sequence_header", "h264_i_frame_period", "video_bitrate_mode", "video_bitrate"];
        if let Some(other) = it.controls_set("extra-controls").iter().find(|name| !known.contains(&name.as_str())) {
            return Some(format!("Failed to set {other}"));
        }
        if it.control("extra-controls", "video_bitrate").is_some_and(|bps| bps >= 25_000_000 || bps % 25_000 != 0) {
            return Some("Failed to set video_bitrate".into());
        }
        (size.0 % 32 != 0).then(|| "the stride is a multiple of 32".to_owned()).or(size_within(size, (32, 32), (2048, 2048)))
    },
};

/// The kernel's Amphion driver (`drivers/media/platform/amphion/venc.c`) behind the same element.
pub static AMPHION: Encoder = Encoder {
    sink: "video/x-raw,format=NV12",
    repeats_headers: |it| it.control("extra-controls", "prepend_sps_and_pps_to_idr") == Some(1),
    refuses: |it, size, _| {
        let known = ["video_gop_size", "video_bitrate_mode", "video_bitrate", "prepend_sps_and_pps_to_idr"];
        if let Some(other) = it.controls_set("extra-controls").iter().find(|name| !known.contains(&name.as_str())) {
            return Some(format!("Failed to set {other}"));
        }
        size_within(size, (64, 64), FULL_HD)
    },
    ..V4L2
};

/// NVIDIA L4T.
pub static NVV4L2: Encoder = Encoder {
    element: "nvv4l2h264enc",
    sink: "video/x-raw(memory:NVMM),format={I420,NV12,P010_10LE}",
    properties: &[
        ("bitrate", Kind::Uint(4_000_000)),
        ("peak-bitrate", Kind::Uint(0)),
        ("control-rate", Kind::Word(&["variable_bitrate", "constant_bitrate"])),
        ("insert-sps-pps", Kind::Bool(false)),
        ("insert-vui", Kind::Bool(false)),
        ("num-B-Frames", Kind::Uint(0)),
        ("preset-level", Kind::Word(&["UltraFastPreset", "FastPreset", "MediumPreset", "SlowPreset"])),
        ("maxperf-enable", Kind::Bool(false)),
        ("poc-type", Kind::Uint(0)),
        ("iframeinterval", Kind::Uint(30)),
        ("idrinterval", Kind::Uint(256)),
    ],
    signal: Some("force-IDR"),
    bitrate: |it| it.number("bitrate"),
    repeats_headers: |it| it.truth("insert-sps-pps"),
    is_baseline: |it, _| it.number("num-B-Frames") == 0,
    refuses: |_, size, _| size_within(size, (48, 48), (4096, 4096)),
};

/// rockchip-linux/gstreamer-rockchip.
pub static MPP: Encoder = Encoder {
    element: "mpph264enc",
    sink: "video/x-raw,format={NV12,I420,YUY2,UYVY}",
    properties: &[
        ("bps", Kind::Uint(0)),
        ("bps-min", Kind::Uint(0)),
        ("bps-max", Kind::Uint(0)),
        ("gop", Kind::Int(-1)),
        ("profile", Kind::Word(&["high", "main", "baseline"])),
        ("level", Kind::Int(40)),
        ("header-mode", Kind::Word(&["first-frame", "each-idr"])),
        ("rc-mode", Kind::Word(&["cbr", "vbr", "fixqp"])),
        ("max-pending", Kind::Uint(16)),
    ],
    signal: None,
    bitrate: |it| it.number("bps"),
    repeats_headers: |it| it.word("header-mode") == "each-idr",
    is_baseline: |it, _| it.word("profile") == "baseline",
    refuses: |_, size, _| size_within(size, (96, 64), (3840, 2160)),
};

/// nxp-imx/imx-gst1.0-plugin.
pub static VPU: Encoder = Encoder {
    element: "vpuenc_h264",
    sink: "video/x-raw,format={NV12,I420,YUY2,UYVY}",
    properties: &[("bitrate", Kind::Uint(0)), ("gop-size", Kind::Uint(30)), ("profile", Kind::Int(9)), ("level", Kind::Int(31))],
    signal: None,
    bitrate: |it| it.number("bitrate") * 1000,
    repeats_headers: always,
    is_baseline: |it, _| it.number("profile") == 9,
    refuses: |it, size, _| {
        let most = if it.number("level") >= 40 { FULL_HD } else { (1280, 720) };
        size_within(size, (64, 64), most)
    },
};

/// Freescale/gstreamer-imx.
pub static IMX: Encoder = Encoder {
    element: "imxvpuenc_h264",
    sink: "video/x-raw,format={NV12,I420}",
    properties: &[("bitrate", Kind::Uint(0)), ("gop-size", Kind::Uint(16))],
    signal: None,
    bitrate: |it| it.number("bitrate") * 1000,
    repeats_headers: always,
    is_baseline: |_, _| true,
    refuses: |_, size, _| size_within(size, (64, 64), FULL_HD),
};

const VA_PROPERTIES: &[(&str, Kind)] = &[
    ("bitrate", Kind::Uint(0)),
    ("rate-control", Kind::Word(&["cbr", "vbr", "cqp", "icq"])),
    ("b-frames", Kind::Uint(0)),
    ("cabac", Kind::Bool(true)),
    ("dct8x8", Kind::Bool(true)),
    ("target-usage", Kind::Uint(4)),
    ("key-int-max", Kind::Uint(0)),
];

fn va_refuses(it: &Settings, size: (u32, u32), _: &gst::Caps) -> Option<String> {
    let wrong = it.number("bitrate") > 2_048_000 || it.number("target-usage") > 7;
    wrong.then(|| "invalid parameter".to_owned()).or(size_within(size, (128, 96), (4096, 4096)))
}

/// VA-API.
pub static VA: Encoder = Encoder {
    element: "vah264enc",
    sink: "video/x-raw(memory:VAMemory),format=NV12;video/x-raw,format=NV12",
    properties: VA_PROPERTIES,
    signal: None,
    bitrate: |it| it.number("bitrate") * 1000,
    repeats_headers: always,
    is_baseline: |it, caps| baseline_by_caps(it, caps) && !it.truth("cabac") && !it.truth("dct8x8"),
    refuses: va_refuses,
};

/// VA-API, the low-power entry point.
pub static VA_LP: Encoder = Encoder { element: "vah264lpenc", ..VA };

/// Intel's own library.
pub static QSV: Encoder = Encoder {
    element: "qsvh264enc",
    sink: "video/x-raw(memory:VAMemory),format=NV12;video/x-raw,format=NV12",
    properties: &[
        ("bitrate", Kind::Uint(2000)),
        ("b-frames", Kind::Uint(0)),
        ("gop-size", Kind::Uint(0)),
        ("low-latency", Kind::Bool(false)),
        ("disable-hrd-conformance", Kind::Bool(false)),
        ("rate-control", Kind::Word(&["vbr", "cbr", "cqp", "avbr", "icq", "vcm"])),
        ("target-usage", Kind::Uint(4)),
    ],
    signal: None,
    bitrate: |it| it.number("bitrate") * 1000,
    repeats_headers: always,
    is_baseline: baseline_by_caps,
    refuses: |_, size, _| size_within(size, (64, 64), (4096, 4096)),
};

/// NVIDIA's cards.
pub static NV: Encoder = Encoder {
    element: "nvh264enc",
    sink: "video/x-raw(memory:CUDAMemory),format={NV12,I420};video/x-raw,format={NV12,I420,BGRA,RGBA}",
    properties: &[
        ("bitrate", Kind::Uint(0)),
        ("bframes", Kind::Uint(0)),
        ("gop-size", Kind::Int(75)),
        ("zerolatency", Kind::Bool(false)),
        ("preset", Kind::Word(&["default", "hp", "hq", "low-latency", "low-latency-hq", "low-latency-hp"])),
        ("rc-mode", Kind::Word(&["default", "constqp", "cbr", "vbr", "vbr-minqp", "cbr-ld-hq", "cbr-hq", "vbr-hq"])),
    ],
    signal: None,
    bitrate: |it| it.number("bitrate") * 1000,
    repeats_headers: always,
    is_baseline: baseline_by_caps,
    refuses: |_, size, _| size_within(size, (145, 49), (4096, 4096)),
};

const CODED: &str = "video/x-h264,stream-format=byte-stream,alignment=au;video/x-h265,stream-format=byte-stream,alignment=au;\
                     video/x-vp8;video/x-vp9;video/x-av1";
const H264: &str = "video/x-h264,stream-format=byte-stream,alignment=au";
const PLAIN: &str = "video/x-raw,format=NV12";
const NVMM: &str = "video/x-raw(memory:NVMM),format=NV12";

/// Decoders, Pi.
pub static V4L2_DEC: Decoder =
    Decoder { element: "v4l2h264dec", sink: H264, src: PLAIN, properties: &[("extra-controls", Kind::Controls)] };
pub static V4L2_JPEG: Decoder =
    Decoder { element: "v4l2jpegdec", sink: "image/jpeg,parsed=(boolean)true", src: PLAIN, properties: &[] };
/// Jetson.
pub static NVV4L2_DEC: Decoder = Decoder {
    element: "nvv4l2decoder",
    sink: "video/x-h264,stream-format=byte-stream,alignment=au;video/x-h265,stream-format=byte-stream,alignment=au;\
           video/x-vp8;video/x-vp9;video/x-av1;image/jpeg",
    src: NVMM,
    properties: &[
        ("enable-max-performance", Kind::Bool(false)),
        ("disable-dpb", Kind::Bool(false)),
        ("mjpeg", Kind::Bool(false)),
    ],
};
/// Rockchip.
pub static MPP_DEC: Decoder = Decoder { element: "mppvideodec", sink: CODED, src: PLAIN, properties: &[] };
pub static MPP_JPEG: Decoder = Decoder { element: "mppjpegdec", sink: "image/jpeg", src: PLAIN, properties: &[] };
/// i.MX.
pub static VPU_DEC: Decoder = Decoder { element: "vpudec", sink: CODED, src: PLAIN, properties: &[] };
pub static IMX_DEC: Decoder = Decoder { element: "imxvpudec_h264", sink: H264, src: PLAIN, properties: &[] };
/// PCs.
pub static VA_DEC: Decoder = Decoder {
    element: "vah264dec",
    sink: H264,
    src: "video/x-raw(memory:VAMemory),format=NV12;video/x-raw,format=NV12",
    properties: &[],
};
pub static NV_DEC: Decoder = Decoder {
    element: "nvh264dec",
    sink: H264,
    src: "video/x-raw(memory:CUDAMemory),format=NV12;video/x-raw,format=NV12",
    properties: &[],
};
/// Stateless, by V4L2.
pub static SL_H265: Decoder =
    Decoder { element: "v4l2slh265dec", sink: "video/x-h265,alignment=au", src: PLAIN, properties: &[] };
pub static SL_VP8: Decoder = Decoder { element: "v4l2slvp8dec", sink: "video/x-vp8", src: PLAIN, properties: &[] };
pub static SL_VP9: Decoder = Decoder { element: "v4l2slvp9dec", sink: "video/x-vp9", src: PLAIN, properties: &[] };
pub static SL_H264: Decoder = Decoder { element: "v4l2slh264dec", sink: H264, src: PLAIN, properties: &[] };
