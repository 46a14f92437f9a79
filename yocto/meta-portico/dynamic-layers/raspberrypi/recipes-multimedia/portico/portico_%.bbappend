# The firmware: temperature and throttling, codecs of old kernels.
# nooelint: oelint.vars.specific - the override is of the layer that this one waits for
PORTICO_BOARD:rpi = "raspberry-pi"
# nooelint: oelint.vars.specific - the same
PACKAGE_ARCH:rpi = "${MACHINE_ARCH}"
