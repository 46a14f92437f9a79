SUMMARY = "Portico with the GStreamer plugins that the board can use"
DESCRIPTION = "The gateway, what it needs for cameras, files and streams, and the codecs: the board's own, else software."
HOMEPAGE = "https://github.com/portico-rtc/portico"
BUGTRACKER = "https://github.com/portico-rtc/portico/issues"
SECTION = "multimedia"

# what is in it depends on the machine
PACKAGE_ARCH = "${MACHINE_ARCH}"

inherit packagegroup

# Plugins by what they are for. The names behind the set are those of the plugin files.
PORTICO_CAMERAS = "\
    gstreamer1.0-plugins-base-alsa \
    gstreamer1.0-plugins-good-jpeg \
    gstreamer1.0-plugins-good-video4linux2 \
    gstreamer1.0-plugins-good-videofilter \
"
PORTICO_STREAMS = "\
    gstreamer1.0-plugins-base-playback \
    gstreamer1.0-plugins-base-typefindfunctions \
    gstreamer1.0-plugins-good-audioparsers \
    gstreamer1.0-plugins-good-avi \
    gstreamer1.0-plugins-good-isomp4 \
    gstreamer1.0-plugins-good-matroska \
    gstreamer1.0-plugins-good-multifile \
    gstreamer1.0-plugins-good-rtp \
    gstreamer1.0-plugins-good-rtpmanager \
    gstreamer1.0-plugins-good-rtsp \
    gstreamer1.0-plugins-good-udp \
    gstreamer1.0-plugins-good-wavparse \
    gstreamer1.0-plugins-bad-jpegformat \
    gstreamer1.0-plugins-bad-videoparsersbad \
"
PORTICO_MIX = "\
    gstreamer1.0-plugins-base-audioconvert \
    gstreamer1.0-plugins-base-audiomixer \
    gstreamer1.0-plugins-base-audiorate \
    gstreamer1.0-plugins-base-audioresample \
    gstreamer1.0-plugins-base-audiotestsrc \
    gstreamer1.0-plugins-base-compositor \
    gstreamer1.0-plugins-base-pango \
    gstreamer1.0-plugins-base-videotestsrc \
    gstreamer1.0-plugins-base-volume \
    gstreamer1.0-plugins-good-imagefreeze \
    gstreamer1.0-plugins-good-level \
"
# x264 is under the GPL and patents: only where the build accepts "commercial". Without it software encodes VP8.
PORTICO_SOFTWARE_CODECS = "\
    gstreamer1.0-plugins-base-opus \
    gstreamer1.0-plugins-bad-opusparse \
    gstreamer1.0-plugins-good-vpx \
    ${@bb.utils.contains('LICENSE_FLAGS_ACCEPTED', 'commercial', 'gstreamer1.0-plugins-ugly-x264', '', d)} \
"
# Stateful codecs (v4l2h264enc …) come with video4linux2; these are the stateless ones.
PORTICO_BOARD_CODECS ?= "gstreamer1.0-plugins-bad-v4l2codecs"

RDEPENDS:${PN} = "\
    ${PORTICO_BOARD_CODECS} \
    ${PORTICO_CAMERAS} \
    ${PORTICO_MIX} \
    ${PORTICO_SOFTWARE_CODECS} \
    ${PORTICO_STREAMS} \
    portico \
"
