# CSI cameras of the Pi: libcamerasrc
# nooelint: oelint.vars.specific - the override is of the layer that this one waits for
RDEPENDS:${PN}:append:rpi = " libcamera-gst"
