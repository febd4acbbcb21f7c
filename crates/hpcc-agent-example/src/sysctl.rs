//! Kernel settings of containers: images are made for them.

/// Settings of IPv4 that Docker and containerd make: every user may use low ports, and send ICMP echo requests.
const SETTINGS: [(&str, &str); 2] = [
    ("ip_unprivileged_port_start", "0"),
    ("ping_group_range", "0 2147483647"),
];

/// Makes the settings that this kernel has. Without IPv4, it has none of them.
pub(crate) fn set() {
    for (name, value) in SETTINGS {
        let _ = std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value);
    }
}
