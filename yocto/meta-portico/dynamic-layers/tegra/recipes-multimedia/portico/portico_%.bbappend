# NVIDIA's nodes, which have no class; the daemon of CSI cameras.
# nooelint: oelint.vars.specific - the override is of the layer that this one waits for
PORTICO_BOARD:tegra = "jetson"
# nooelint: oelint.vars.specific - the same
PACKAGE_ARCH:tegra = "${MACHINE_ARCH}"
