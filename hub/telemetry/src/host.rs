//! Whose name a door for operators answers to. A page in a browser on the same machine can make its own name lead here
//! (DNS rebinding) and would read what the door says to whoever is on this machine; its name is in the request.

use std::net::{IpAddr, SocketAddr};

/// Whether a door that listens here answers a request for this `Host`: a name of this machine alone, or the address
/// that the door listens on. A door on every address answers to any address, and to no name of a network.
#[must_use]
pub fn answers_to(host: &str, listen: SocketAddr) -> bool {
    let Some(name) = without_port(host) else { return false };
    if name.eq_ignore_ascii_case("localhost") || name.eq_ignore_ascii_case("localhost.") {
        return true;
    }
    let Ok(address) = name.parse::<IpAddr>() else { return false };
    let address = address.to_canonical();
    address.is_loopback() || address == listen.ip().to_canonical() || listen.ip().is_unspecified()
}

/// The name or address of a `Host`, an IPv6 address without its brackets.
fn without_port(host: &str) -> Option<&str> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            // What stands in brackets is an IPv6 address and nothing else.
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, rest)
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = rest.strip_prefix(':').map_or(Ok(0), str::parse::<u16>);
    (port.is_ok() && (rest.is_empty() || rest.starts_with(':'))).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_network_are_not_answered() {
        let at = |listen: &str| listen.parse::<SocketAddr>().unwrap();
        for (host, listen, answers) in [
            ("localhost", "127.0.0.1:8481", true),
            ("LocalHost:8481", "127.0.0.1:8481", true),
            // Through a forwarded port.
            ("localhost:9000", "127.0.0.1:8481", true),
            ("127.0.0.1:8481", "127.0.0.1:8481", true),
            ("127.8.8.8", "127.0.0.1:8481", true),
            ("[::1]:8481", "[::1]:8481", true),
            ("[::ffff:127.0.0.1]", "127.0.0.1:8481", true),
            ("10.0.0.5:8481", "10.0.0.5:8481", true),
            ("10.0.0.6:8481", "10.0.0.5:8481", false),
            ("10.0.0.6:8481", "0.0.0.0:8481", true),
            ("10.0.0.6", "127.0.0.1:8481", false),
            ("rebound.example", "127.0.0.1:8481", false),
            ("rebound.example:8481", "0.0.0.0:8481", false),
            ("localhost.rebound.example", "127.0.0.1:8481", false),
            ("127.0.0.1.rebound.example", "127.0.0.1:8481", false),
            ("localhost@rebound.example", "127.0.0.1:8481", false),
            ("[::1]rebound.example", "127.0.0.1:8481", false),
            ("[127.0.0.1]", "127.0.0.1:8481", false),
            ("[::1", "127.0.0.1:8481", false),
            ("localhost:", "127.0.0.1:8481", false),
            ("localhost:x", "127.0.0.1:8481", false),
            ("::1", "127.0.0.1:8481", false),
            ("0.0.0.0", "127.0.0.1:8481", false),
            ("2130706433", "127.0.0.1:8481", false),
            ("", "127.0.0.1:8481", false),
        ] {
            assert_eq!(answers_to(host, at(listen)), answers, "{host} at {listen}");
        }
    }
}
