//! Caps and deadlines of a door, each with its reason.

use std::time::Duration;

/// How many connections a door keeps, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptLimits {
    /// Connections in all. Each costs about 50 KiB and one open file, which the ledger needs too.
    pub connections: usize,
    /// Connections that have not said who they are: a flood of strangers must not take the members' places.
    pub handshakes: usize,
    /// Connections of one address: all programs of a member may share one, behind address translation.
    pub per_address: usize,
    /// Connections of one certificate holder: adapter, gateway and tools of one member, with replacements.
    pub per_identity: usize,
    /// From accept to the end of the TLS handshake.
    pub handshake: Duration,
    /// From there to the first request.
    pub first_request: Duration,
    /// From a request's first byte of body to its last. A slow reader of ours does not count: this runs only
    /// while bytes are waited for.
    pub request_body: Duration,
    /// Bytes that requests hold whose bodies have not ended, over all connections of the door.
    pub reading_bytes: usize,
    /// Paths of requests whose bodies last as long as their connection.
    pub endless: &'static [&'static str],
    /// Without an open request. Links hold one open for as long as they live.
    pub idle: Duration,
    /// From the polite goodbye to the end, for requests that are still open.
    pub drain: Duration,
    /// Between two pings; finds the other end dead while a request is open.
    pub keepalive_interval: Duration,
    /// How long the answer to a ping may take.
    pub keepalive_timeout: Duration,
    /// Requests open at once on one HTTP/2 connection: a gateway multiplexes its member's apps on one; the
    /// hub's queues refuse the surplus of all connections together.
    pub streams: u32,
    /// Bytes of all headers of a request: ours are gRPC's and a trace context, under 1 KiB.
    pub header_bytes: u32,
    /// Bytes of body in flight per request: a statement and most bodies fit without a round trip.
    pub stream_window: u32,
    /// Bytes of body in flight per connection: bounds what a client makes the hub buffer.
    pub connection_window: u32,
    /// Bytes of answers buffered per request for a client that does not read.
    pub send_buffer: usize,
    /// Requests reset by the client before the hub took them, after which the connection ends (the
    /// library's own default; the answer to rapid reset).
    pub pending_resets: usize,
    /// Requests reset by the hub for errors of the client, after which the connection ends.
    pub local_resets: usize,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            handshakes: 512,
            per_address: 256,
            per_identity: 64,
            handshake: Duration::from_secs(5),
            first_request: Duration::from_secs(5),
            request_body: Duration::from_secs(10),
            reading_bytes: 128 * 1024 * 1024,
            endless: &["/yiwang.v1.LinkService/Connect", "/yiwang.v1.ExchangeService/Stream"],
            idle: Duration::from_secs(60),
            drain: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            streams: 256,
            header_bytes: 16 * 1024,
            stream_window: 512 * 1024,
            connection_window: 2 * 1024 * 1024,
            send_buffer: 256 * 1024,
            pending_resets: 20,
            local_resets: 256,
        }
    }
}

impl AcceptLimits {
    /// For the enrolment door: strangers, one short call each.
    #[must_use]
    pub fn for_strangers() -> Self {
        Self {
            connections: 128,
            handshakes: 128,
            per_address: 16,
            reading_bytes: 4 * 1024 * 1024,
            endless: &[],
            idle: Duration::from_secs(10),
            streams: 4,
            stream_window: 64 * 1024,
            connection_window: 64 * 1024,
            send_buffer: 64 * 1024,
            ..Self::default()
        }
    }

    /// The stranger's form of these limits: its counts, and the shorter of both deadlines.
    #[must_use]
    pub fn strangers(&self) -> Self {
        let strangers = Self::for_strangers();
        Self {
            handshake: strangers.handshake.min(self.handshake),
            first_request: strangers.first_request.min(self.first_request),
            request_body: strangers.request_body.min(self.request_body),
            idle: strangers.idle.min(self.idle),
            drain: strangers.drain.min(self.drain),
            ..strangers
        }
    }

    /// Lowers the number of connections so that they take at most half of the open files that the process may
    /// have; a door that took the last one would stop the ledger.
    #[must_use]
    pub fn within_open_files(mut self) -> Self {
        // Without /proc there is nothing to compare with.
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(files) = soft_limit_of_open_files(&limits) {
            self.connections = self.connections.min(files / 2);
            self.handshakes = self.handshakes.min(self.connections);
        }
        self
    }
}

fn soft_limit_of_open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_ledger() {
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024    4096    files\n";
        assert_eq!(soft_limit_of_open_files(text), Some(1024));
        assert_eq!(soft_limit_of_open_files("Max open files  unlimited unlimited files"), None);
        assert!(AcceptLimits::default().within_open_files().connections > 0);
    }
}
