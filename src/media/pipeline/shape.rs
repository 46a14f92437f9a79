//! How much of a source's picture is encoded: every frame or some, at its size or smaller.

use std::sync::mpsc;

use gstreamer as gst;
use gstreamer::prelude::*;
use tracing::info;

use super::{BranchSpec, Encode, Order, Session};
use crate::media::board::EncoderLimits;
use crate::media::plan::StreamOffer;
use crate::vocab::MediaKind;

/// Taken for the rate of a stream that does not tell its own.
const USUAL_RATE: u32 = 30;
/// Nothing is made smaller than this, pixels: some encoders take no less.
const SMALLEST: (u32, u32) = (128, 96);

/// What the picture is divided by, 1 for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::media) struct Shape {
    /// The frame rate.
    pub rate: u32,
    /// Width and height.
    pub size: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self { rate: 1, size: 1 }
    }
}

/// The same in figures; nothing where it is as the source gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// Most frames per second.
    rate: Option<u32>,
    /// Pixels.
    size: Option<(u32, u32)>,
}

impl Cut {
    /// `layer` is the size of a smaller layer, `size` and `rate` are the source's where they are known.
    fn of(shape: Shape, layer: Option<(u32, u32)>, size: Option<(u32, u32)>, rate: Option<u32>, limits: &EncoderLimits) -> Self {
        let align = limits.width_align.unwrap_or(2).max(2);
        let smaller = |(width, height): (u32, u32)| {
            let smaller = ((width / shape.size / align * align), (height / shape.size) & !1);
            (smaller.0 >= SMALLEST.0 && smaller.1 >= SMALLEST.1).then_some(smaller)
        };
        Self {
            rate: (shape.rate > 1).then(|| rate.unwrap_or(USUAL_RATE).div_ceil(shape.rate).max(1)),
            size: layer.or(size).filter(|_| shape.size > 1).and_then(smaller).or(layer),
        }
    }

    /// The beginning of a branch: what is left out does not even wait.
    pub fn entry(&self, queue: &str) -> String {
        match self.rate {
            // without `skip-to-first` it would first let through what it holds for missing since the pipeline's start
            Some(rate) => {
                format!("videorate name=entry drop-only=true skip-to-first=true max-rate={rate} ! {queue} name=line")
            }
            None => format!("{queue} name=entry"),
        }
    }

    /// The converter; every board's can scale, the last resort needs help.
    pub fn convert(&self, convert: &str) -> String {
        match (self.size, convert) {
            (Some(_), "videoconvert") => "videoscale ! videoconvert".into(),
            _ => convert.into(),
        }
    }

    /// Caps in front of the encoder.
    pub fn input(&self, caps: &str) -> String {
        match self.size {
            Some((width, height)) => {
                let caps = if caps.is_empty() { "video/x-raw" } else { caps };
                format!("{caps},width={width},height={height},pixel-aspect-ratio=1/1")
            }
            None => caps.into(),
        }
    }
}

impl Session {
    /// Encodes as much of the picture as said from now on. Encoders are started anew for that: viewers see a key frame.
    pub(super) fn set_shape(&mut self, shape: Shape, inbox: &mpsc::Receiver<Order>) {
        let other = |spec: &BranchSpec| {
            let encode =
                spec.encode.as_ref().filter(|encode| encode.shape != shape && spec.id.codec.kind() == MediaKind::Video)?;
            Some(BranchSpec { encode: Some(Encode { shape, ..encode.clone() }), ..spec.clone() })
        };
        let again: Vec<BranchSpec> = self.branches.values().filter_map(|branch| other(&branch.spec)).collect();
        for spec in again {
            info!(branch = %spec.id, rate = shape.rate, size = shape.size, "encoder started anew for a part of the picture");
            self.start_anew(spec, inbox);
        }
    }

    /// What an encoder's shape means for what this tee gives.
    pub(super) fn cut(&self, tee: &gst::Element, kind: MediaKind, encode: &Encode) -> Cut {
        if kind != MediaKind::Video {
            return Cut::default();
        }
        let (size, rate) = match self.offer.of(kind) {
            Some(&StreamOffer::Picture { width, height, framerate }) => (Some((width, height)), Some(framerate)),
            _ => seen(tee),
        };
        Cut::of(encode.shape, encode.size, size, rate, &encode.encoder.limits)
    }
}

/// Size and rate of what passes a tee now, as far as it tells.
fn seen(tee: &gst::Element) -> (Option<(u32, u32)>, Option<u32>) {
    let caps = tee.static_pad("sink").and_then(|pad| pad.current_caps());
    let Some(structure) = caps.as_ref().and_then(|caps| caps.structure(0)) else { return (None, None) };
    let pixels = |name| structure.get::<i32>(name).ok().and_then(|it| u32::try_from(it).ok());
    let rate = structure.get::<gst::Fraction>("framerate").ok().filter(|it| it.numer() > 0 && it.denom() > 0);
    let rate = rate.and_then(|rate| u32::try_from(rate.numer()).ok()?.checked_div(u32::try_from(rate.denom()).ok()?));
    (pixels("width").zip(pixels("height")), rate.filter(|rate| *rate > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_picture_is_one_that_encoders_take() {
        let limits = EncoderLimits { width_align: Some(32), ..Default::default() };
        let half = Shape { rate: 2, size: 2 };
        let of = |shape, size, rate, limits| Cut::of(shape, None, size, rate, limits);
        let any = EncoderLimits::default();
        assert_eq!(of(Shape::default(), Some((640, 360)), Some(30), &any), Cut::default());
        assert_eq!(of(half, Some((640, 360)), Some(30), &any), Cut { rate: Some(15), size: Some((320, 180)) });
        assert_eq!(of(half, Some((1296, 726)), Some(25), &limits), Cut { rate: Some(13), size: Some((640, 362)) });
        assert_eq!(of(half, None, None, &any), Cut { rate: Some(15), size: None });
        assert_eq!(of(half, Some((160, 120)), Some(1), &any), Cut { rate: Some(1), size: None });
        let cut = of(half, Some((640, 360)), Some(30), &any);
        assert_eq!(
            cut.input("video/x-raw(memory:NVMM),format=NV12"),
            "video/x-raw(memory:NVMM),format=NV12,width=320,height=180,pixel-aspect-ratio=1/1"
        );
        assert_eq!(
            (cut.input(""), cut.convert("v4l2convert")),
            ("video/x-raw,width=320,height=180,pixel-aspect-ratio=1/1".into(), "v4l2convert".into())
        );
        // a smaller layer is halved, too, unless it is small enough
        let layer = |size| Cut::of(half, Some(size), Some((1280, 720)), Some(30), &any).size;
        assert_eq!((layer((640, 360)), layer((160, 90))), (Some((320, 180)), Some((160, 90))));
        assert_eq!(Cut::of(Shape::default(), Some((320, 180)), Some((640, 360)), None, &any).size, Some((320, 180)));
    }
}
