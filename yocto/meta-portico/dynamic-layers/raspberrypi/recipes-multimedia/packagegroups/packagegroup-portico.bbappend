# The drivers of H.264 block and image processor (Pi 3, 4, Zero 2 W); the Pi 5 has none and uses software. The Pi 5's H.265 decoder is stateless.
# nooelint: oelint.vars.specific - the override is of the layer that this one waits for
RRECOMMENDS:${PN}:append:rpi = " kernel-module-bcm2835-codec kernel-module-bcm2835-isp"
