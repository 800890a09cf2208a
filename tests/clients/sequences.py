"""What clients call, in order, to attach a volume and to let it go again.

A step is `STATUSES ARGUMENTS`: the statuses with which the client goes on, and the words after
`iscsiadm`. Placeholders: {T} target, {P} portal with port, {IP} address (IPv6 in brackets), {TAG}
portal group tag, {SID} the session's number, {IF} an iface name the client makes up. Steps that
begin with `@` are what the client does itself: `@scan` asks the SCSI host for LUN 0, `@disk` waits
for /dev/disk/by-path, `@remove` deletes the disk, `@clone` copies each setting of iface `default`
to {IF}, `@session` looks for the session in sysfs.
"""

from __future__ import annotations

CHAP = (
    "0 {node} {update} -n node.session.auth.authmethod -v CHAP",
    "0 {node} {update} -n node.session.auth.username -v {USER}",
    "0 {node} {update} -n node.session.auth.password -v {SECRET}",
)


def _chap(node: str, update: str) -> list[str]:
    pairs = {"node": node, "update": update, "USER": "{USER}", "SECRET": "{SECRET}"}
    return [step.format(**pairs) for step in CHAP]


OS_BRICK = [
    "0 -m iface -I default",
    "21 -m node -T {T} -p {P}",
    "0 -m node -T {T} -p {P} --interface default --op new",
    "0 -m node -T {T} -p {P} --op update -n node.session.scan -v manual",
    *_chap("-m node -T {T} -p {P}", "--op update"),
    "21 -m session",
    "0 -m node -T {T} -p {P} --login",
    "0 -m node -T {T} -p {P} --op update -n node.startup -v automatic",
    "0 -m session",
    "15 -m node -T {T} -p {P} --login",
    "@scan",
    "@disk",
    "@remove",
    "0 -m node -T {T} -p {P} --op update -n node.startup -v manual",
    "0 -m node -T {T} -p {P} --logout",
    "0 -m node -T {T} -p {P} --op delete",
    "21 -m node -T {T} -p {P} --logout",
    "21 -m node -T {T} -p {P} --op delete",
]

OS_BRICK_MULTIPATH = [
    "21 -m node --op show -p {P}",
    "6 -m discoverydb -t sendtargets -p {P} -I default --op update "
    "-n discovery.sendtargets.auth.authmethod -v None",
    "0 -m discoverydb -t sendtargets -p {P} -I default --op new",
    "0 -m discoverydb -t sendtargets -p {P} -I default --op update "
    "-n discovery.sendtargets.auth.authmethod -v None",
    "0 -m discoverydb -t sendtargets -p {P} -I default --discover",
    "0 -m discovery -t sendtargets -I default -p {P}",
    "0 -m discoverydb -o show -P 1",
    "0 -m node --op show -p {P}",
    *_chap("-m node -T {T} -p {P}", "--op update"),
    "0 -m node -T {T} -p {P} --login",
    "@disk",
    "0 -m session",
    "@remove",
    "0 -m node -T {T} -p {P} --logout",
    "0 -m node -T {T} -p {P} --op delete",
]

KUBELET = [
    "0 -m iface -I default -o show",
    "0 -m iface -I {IF} -o new",
    "@clone",
    "0 -m discoverydb -t sendtargets -p {P} -I {IF} -o new",
    "0 -m discoverydb -t sendtargets -p {P} -I {IF} -o update "
    "-n discovery.sendtargets.auth.authmethod -v None",
    "0 -m discoverydb -t sendtargets -p {P} -I {IF} --discover",
    "0 -m node -p {P} -T {T} -I {IF} -o update -n node.session.scan -v manual",
    *_chap("-m node -p {P} -T {T} -I {IF}", "-o update"),
    "0 -m node -p {P} -T {T} -I {IF} --login",
    "0 -m node -p {P} -T {T} -o update -n node.startup -v manual",
    "@session",
    "@scan",
    "@disk",
    "0 -m node -p {P} -T {T} -R",
    "@remove",
    "0 -m node -p {P} -T {T} -I {IF} --logout",
    "0 -m node -p {P} -T {T} -I {IF} -o delete",
    "0 -m iface -I {IF} -o delete",
    "6 -m iface -I {IF} -o show",
    "0 -m discoverydb -t sendtargets -p {P} -I default -o delete",
]

DEMOCRATIC_CSI = [
    "0 -m node -T {T} -p {P} -o new",
    "0 -m node -T {T} -p {P} -o update --name node.startup --value manual",
    "0 -m node -T {T} -p {P} -o update --name node.session.auth.authmethod --value CHAP",
    "0 -m node -T {T} -p {P} -o update --name node.session.auth.username --value {USER}",
    "0 -m node -T {T} -p {P} -o update --name node.session.auth.password --value {SECRET}",
    "0 -m node -T {T} -p {P} -l",
    "15 -m node -T {T} -p {P} -l",
    "0 -m session",
    "0 -m session -r {SID} --rescan",
    "@disk",
    "0 -m session -P 3",
    "0 -m node -T {T} -p {P} -u",
    "21 -m node -T {T} -p {P} -u",
    "0 -m node -T {T} -p {P} -o delete",
    "21 -m session",
]

TRIDENT = [
    "0 -V",
    "0 -m discovery -t sendtargets -p {P}",
    "0 -m node",
    "0 -m discoverydb -t st -p {P} -I default -o new",
    "0 -m discoverydb -t st -p {P} -I default -o update "
    "-n discovery.sendtargets.auth.authmethod -v None",
    "0 -m discoverydb -t st -p {P} -I default -D",
    *_chap("-m node -T {T} -p {P}", "-o update"),
    "0 -m node -T {T} -p {P} --op=update --name node.session.timeo.replacement_timeout --value=5",
    "0 -m node -T {T} -p {P} --op=update --name node.conn[0].timeo.login_timeout --value=10",
    "0 -m node -T {T} -p {P} --op=update --name node.session.initial_login_retry_max --value=1",
    "0 -m node -T {T} -p {P} --op=update --name node.session.scan --value=manual",
    "0 -m node -T {T} -p {P} --login",
    "0 -m session",
    "@scan",
    "@disk",
    "@remove",
    "0 -m node -T {T} -p {P} -u",
    "0 -m node -T {T} -p {P} --op=update --name node.session.auth.password --value=wrong-secret",
    "24 -m node -T {T} -p {P} --login",
    "0 -m discoverydb -t st -p {P} -o delete",
]

VDSM = [
    "0 -m iface",
    "0 -m iface -I {IF} --op=new",
    "0 -m iface -I {IF} --op=update -n iface.net_ifacename -v lo",
    "0 -m iface -I {IF}",
    "0 -m discoverydb -t sendtargets -I {IF} -p {P} --op=new",
    "0 -m discoverydb -t sendtargets -I {IF} -p {P} --op=update "
    "-n discovery.sendtargets.auth.authmethod -v None",
    "0 -m discoverydb -t sendtargets -I {IF} -p {P} --discover",
    "0 -m discoverydb -t sendtargets -I {IF} -p {P} --op=delete",
    "0 -m node -T {T} -I {IF} -p {P},{TAG} --op=new",
    "0 -m node -T {T} -I {IF} -p {P},{TAG} --op=update -n node.startup -v manual",
    *_chap("-m node -T {T} -I {IF} -p {P},{TAG}", "--op=update"),
    "0 -m node -T {T} -I {IF} -p {P},{TAG} -l",
    "15 -m node -T {T} -I {IF} -p {P},{TAG} -l",
    "@session",
    "0 -m session -R",
    "@disk",
    "0 -m session -r {SID} -u",
    "21 -m node -T {T} -I {IF} -p {P},{TAG} -u",
    "0 -m node -T {T} -I {IF} -p {P},{TAG} --op=delete",
    "0 -m iface -I {IF} --op=delete",
]

PROXMOX = [
    "21 --mode session",
    "0 --mode discovery --type sendtargets --portal {P}",
    "0 --mode node",
    *_chap("--mode node --targetname {T}", "--op update"),
    "0 --mode node --targetname {T} --op update "
    "--name node.session.initial_login_retry_max --value 0",
    "0 --mode node --targetname {T} --login",
    "0 --mode session",
    "0 --mode session --sid {SID} --rescan",
    "@disk",
    "0 --mode discovery --type sendtargets --portal {P} --op new",
    "0 --mode node --targetname {T} --logout",
    "21 --mode session",
    "0 -m discoverydb -t st -p {P} -o delete",
]

LIBVIRT = [
    "0 --mode iface",
    "0 --mode discovery --type sendtargets --portal {P} --op nonpersistent",
    "21 --mode node --portal {P} --targetname {T}",
    "0 --mode discovery --type sendtargets --portal {P}",
    *_chap("--mode node --portal {P} --target {T}", "--op update"),
    "0 --mode node --portal {P} --targetname {T} --login",
    "0 --mode session",
    "0 --mode session -r {SID} -R",
    "@disk",
    "0 --mode node --portal {P} --targetname {T} --logout",
    "0 -m discoverydb -t st -p {P} -o delete",
]

LONGHORN = [
    "0 --version",
    "0 -m discovery -t sendtargets -p {IP}",
    "0 -m node -T {T} -p {IP}",
    "0 -m node -T {T} -p {IP} -o update -n node.session.err_timeo.abort_timeout -v 15",
    *_chap("-m node -T {T} -p {IP}", "-o update"),
    "0 -m node -T {T} -p {IP} --login",
    "0 -m node -T {T} -p {IP} -o show",
    "0 -m node -T {T} -p {IP} --rescan",
    "0 -m session",
    "0 -m session -P 3",
    "@disk",
    "0 -m node -T {T} -p {IP} --logout",
    "0 -m node -T {T} -p {IP} -o delete",
]

XAPI = [
    "21 -m session",
    "0 -m discovery -t st -p {P}",
    "0 -m node",
    "0 -m node -T {T} -p {P} -S",
    *_chap("-m node -T {T} -p {P}", "--op update"),
    "0 -m node -T {T} --op update -n node.session.timeo.replacement_timeout -v 144",
    "0 -m node -T {T} -p {P} -l",
    "0 -m session",
    "@disk",
    "0 -m node -T {T} -p {P} -u",
    "0 -m node -T {T} -p {P} --op update -n node.session.auth.password -v ''",
    "0 -o delete -m node -T {T}",
    "21 -m session",
]

TRUENAS = [
    "0 -m discovery -t st -p {P}",
    *_chap("-m node -T {T} -p {P}", "-o update"),
    "0 -m node -T {T} -p {P} --login --no_wait",
    "@disk",
    "0 -m node -T {T} -p {P} -R",
    "0 -m node -p {P} --logoutall=all",
    "21 -m node --logoutall=all --no_wait",
    "0 -m node -T {T} -o delete",
]

JUJU = [
    "0 -m node -o new -T {T} -p {P}",
    "0 -m node -o update -T {T} -n node.startup -v automatic",
    *_chap("-m node -T {T}", "-o update"),
    "0 -m node -T {T} -p {P} -l",
    "@disk",
    "15 -m node -T {T} -p {P} -l",
    "0 -m node -T {T} -p {P} -u",
    "21 -m node -T {T} -p {P} -u",
    "0 -m node -o delete -T {T} -p {P}",
    "21 -m node -o delete -T {T} -p {P}",
]

INFINIDAT = [
    "0 --mode iface --interface {IF} --op new",
    "0 --mode iface --interface {IF} --op update -n iface.mtu -v 0",
    "0 --mode iface --interface {IF} --op show",
    "0 --mode discoverydb --type sendtargets --interface {IF} --portal {P} "
    "--discover --op new --op delete",
    *_chap("--mode node --targetname {T} --interface {IF}", "--op update"),
    "0 --mode node --targetname {T} --interface {IF} --login",
    "@disk",
    "0 -m session -P3",
    "0 --mode node --logoutall=all",
    "0 --mode node --targetname {T} --op delete",
    "0 --mode iface --interface {IF} --op delete",
]

SEQUENCES = {
    "os-brick": OS_BRICK,
    "os-brick, multipath": OS_BRICK_MULTIPATH,
    "kubelet": KUBELET,
    "democratic-csi": DEMOCRATIC_CSI,
    "Trident": TRIDENT,
    "vdsm": VDSM,
    "Proxmox": PROXMOX,
    "libvirt": LIBVIRT,
    "Longhorn": LONGHORN,
    "xapi": XAPI,
    "TrueNAS": TRUENAS,
    "juju": JUJU,
    "Infinidat": INFINIDAT,
}
IPV6 = ("os-brick", "Trident", "vdsm")
"""Also played with an IPv6 portal."""
