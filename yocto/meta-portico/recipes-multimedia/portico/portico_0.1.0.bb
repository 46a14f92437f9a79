# nooelint: oelint.var.bbclassextend - it runs on boards only
SUMMARY = "The room appliance for small boards"
DESCRIPTION = "Rooms, cameras and hardware codecs behind one WebRTC gateway, as a systemd service."
HOMEPAGE = "https://github.com/portico-rtc/portico"
BUGTRACKER = "https://github.com/portico-rtc/portico/issues"
SECTION = "multimedia"
CVE_PRODUCT = "portico"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "\
    file://LICENSE-MIT;md5=a999e2117ba0e0b1a40bb9e17cd061c7 \
    file://LICENSE-APACHE;md5=3b83ef96387f14655fc854ddc3c6bd57 \
"

# clang-native: the crate v4l reads the kernel's headers with libclang.
DEPENDS = "clang-native gstreamer1.0 gstreamer1.0-plugins-base"

# The sources are the tree that the layer stands in, so that recipe, list of crates and sources always fit. Another tree:
# EXTERNALSRC:pn-portico in local.conf.
EXTERNALSRC = "${@os.path.realpath('${THISDIR}/../../../..')}"
EXTERNALSRC_BUILD = "${WORKDIR}/build"
# no links to the build's folders in the tree
# nooelint: oelint.vars.mispell.unknown - a variable of externalsrc
EXTERNALSRC_SYMLINKS = ""
require ${BPN}-crates.inc
SRC_URI += "\
    file://portico-secret.service \
    file://portico.toml \
"

inherit cargo externalsrc pkgconfig systemd useradd

export LIBCLANG_PATH = "${STAGING_LIBDIR_NATIVE}"
export BINDGEN_EXTRA_CLANG_ARGS = "${HOST_CC_ARCH}${TOOLCHAIN_OPTIONS} --target=${TARGET_SYS}"

CARGO_BUILD_FLAGS:append = " --bin portico"
# as .cargo/config.toml has it, which a RUSTFLAGS takes the place of: AES by the processor's instructions where it has them
RUSTFLAGS:append:aarch64 = " --cfg aes_armv8"

# The same user as in portico.sysusers.conf, made with the image, so that the root may be read-only. oe-core's udev brings render.
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system render"
USERADD_PARAM:${PN} = "\
    --system --user-group --no-create-home --home-dir ${localstatedir}/lib/portico --shell ${base_sbindir}/nologin \
    --groups video,render,audio portico \
"

# portico.socket is there and not enabled: systemctl enable --now portico.socket
SYSTEMD_SERVICE:${PN} = "portico.service portico-secret.service"

# What the board needs besides: a file of systemd/portico.service.d, without its ending. Set by the bbappends for their boards.
PORTICO_BOARD ?= ""

do_install:append() {
    install -D -m 0644 ${S}/systemd/portico.service ${D}${systemd_system_unitdir}/portico.service
    install -D -m 0644 ${S}/systemd/portico.socket ${D}${systemd_system_unitdir}/portico.socket
    install -D -m 0644 ${UNPACKDIR}/portico-secret.service ${D}${systemd_system_unitdir}/portico-secret.service
    install -D -m 0644 ${S}/systemd/portico.sysusers.conf ${D}${nonarch_libdir}/sysusers.d/portico.conf
    install -D -m 0644 ${S}/systemd/portico.tmpfiles.conf ${D}${nonarch_libdir}/tmpfiles.d/portico.conf
    install -D -m 0644 ${S}/systemd/portico.catalog ${D}${nonarch_libdir}/systemd/catalog/portico.catalog
    install -D -m 0644 ${S}/systemd/60-portico.rules ${D}${nonarch_base_libdir}/udev/rules.d/60-portico.rules
    if [ -n "${PORTICO_BOARD}" ]; then
        install -D -m 0644 ${S}/systemd/portico.service.d/${PORTICO_BOARD}.conf ${D}${systemd_system_unitdir}/portico.service.d/${PORTICO_BOARD}.conf
    fi
    install -D -m 0644 ${UNPACKDIR}/portico.toml ${D}${sysconfdir}/portico/portico.toml
}

FILES:${PN} += "\
    ${nonarch_base_libdir}/udev/rules.d \
    ${nonarch_libdir}/systemd/catalog \
    ${nonarch_libdir}/sysusers.d \
    ${nonarch_libdir}/tmpfiles.d \
    ${systemd_system_unitdir} \
"
CONFFILES:${PN} = "${sysconfdir}/portico/portico.toml"

# What it cannot do without: sources, conversion, H.264. Codecs and the rest are the choice of packagegroup-portico.
RDEPENDS:${PN} += "\
    gstreamer1.0-plugins-bad-videoparsersbad \
    gstreamer1.0-plugins-base-app \
    gstreamer1.0-plugins-base-videoconvertscale \
    gstreamer1.0-plugins-base-videorate \
"
