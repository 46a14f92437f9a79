# NVIDIA's elements: encoder and decoder, the converter in front of them, CSI cameras, JPEG. Their V4L2 nodes are no kernel codecs.
# nooelint: oelint.vars.specific - the override is of the layer that this one waits for
PORTICO_BOARD_CODECS:tegra = "\
    gstreamer1.0-plugins-nvarguscamerasrc \
    gstreamer1.0-plugins-nvjpeg \
    gstreamer1.0-plugins-nvvidconv \
    gstreamer1.0-plugins-nvvideo4linux2 \
"
