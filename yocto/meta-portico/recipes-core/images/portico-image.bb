SUMMARY = "An image that boots into Portico"
DESCRIPTION = "A console image with network and SSH whose room main shows the camera: https://BOARD:8780/"
HOMEPAGE = "https://github.com/portico-rtc/portico"
BUGTRACKER = "https://github.com/portico-rtc/portico/issues"
SECTION = "multimedia"
CVE_PRODUCT = "portico"
LICENSE = "MIT"

IMAGE_FEATURES += "ssh-server-dropbear"
IMAGE_INSTALL = "packagegroup-core-boot packagegroup-base-extended packagegroup-portico ${CORE_IMAGE_EXTRA_INSTALL}"

# the service is a systemd unit: INIT_MANAGER = "systemd" in local.conf
REQUIRED_DISTRO_FEATURES = "systemd"

inherit core-image features_check
