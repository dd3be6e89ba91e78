//! What happened at a door, as numbers. Addresses are never logged: a stranger's failure is a count.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows (or, for `open`, follows what is open).
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sub(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// Not finished in time.
    Timeout,
    /// No client certificate.
    NoCertificate,
    /// The client's certificate is past its end or before its beginning.
    Expired,
    /// The client's certificate is of another authority, damaged or for another use.
    BadCertificate,
    /// A good certificate that names nobody here.
    NoIdentity,
    /// No common protocol version, cipher or application protocol: for example TLS 1.2.
    Incompatible,
    /// Not TLS, or TLS that breaks its rules.
    Protocol,
    /// The client refused the hub: it does not trust its certificate.
    RefusedByClient,
    /// The connection broke.
    Broken,
}

/// Which cap refused a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too many in all.
    Total,
    /// Too many that have not yet said who they are.
    Handshakes,
    /// Too many from one address.
    Address,
    /// Too many of one identity.
    Identity,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters of one door.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Count,)* }

        impl Counters {
            /// All values with their names, for metrics.
            #[must_use]
            pub fn values(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Connections accepted under the caps.
    accepted,
    /// Connections open now.
    open,
    /// Calls of accept that failed.
    accept_errors,
    /// Refused: too many in all.
    refused_total,
    /// Refused: too many that have not yet said who they are.
    refused_handshakes,
    /// Refused: too many from one address.
    refused_address,
    /// Refused: too many of one identity.
    refused_identity,
    /// Handshakes not finished in time.
    handshake_timeout,
    /// Handshakes without a client certificate.
    handshake_no_certificate,
    /// Handshakes with a certificate past its end or before its beginning.
    handshake_expired,
    /// Handshakes with a certificate of another authority, damaged or for another use.
    handshake_bad_certificate,
    /// Handshakes with a good certificate that names nobody here.
    handshake_no_identity,
    /// Handshakes without a common version, cipher or application protocol.
    handshake_incompatible,
    /// Handshakes that were no TLS or broke its rules.
    handshake_protocol,
    /// Handshakes ended by the client because it does not trust the hub's certificate.
    handshake_refused_by_client,
    /// Handshakes whose connection broke.
    handshake_broken,
    /// Connections that never asked for anything.
    closed_silent,
    /// Connections closed after a time without open requests.
    closed_idle,
    /// Connections closed at the end of the client's certificate.
    closed_certificate_ended,
    /// Connections whose requests outlived the polite goodbye.
    closed_undrained,
    /// Connections ended by an HTTP error, a reset flood or a missed ping.
    closed_error,
}

impl Counters {
    pub(super) fn refused(&self, refused: Refused) {
        match refused {
            Refused::Total => self.refused_total.add(),
            Refused::Handshakes => self.refused_handshakes.add(),
            Refused::Address => self.refused_address.add(),
            Refused::Identity => self.refused_identity.add(),
        }
    }

    pub(super) fn failed(&self, failure: HandshakeFailure) {
        match failure {
            HandshakeFailure::Timeout => self.handshake_timeout.add(),
            HandshakeFailure::NoCertificate => self.handshake_no_certificate.add(),
            HandshakeFailure::Expired => self.handshake_expired.add(),
            HandshakeFailure::BadCertificate => self.handshake_bad_certificate.add(),
            HandshakeFailure::NoIdentity => self.handshake_no_identity.add(),
            HandshakeFailure::Incompatible => self.handshake_incompatible.add(),
            HandshakeFailure::Protocol => self.handshake_protocol.add(),
            HandshakeFailure::RefusedByClient => self.handshake_refused_by_client.add(),
            HandshakeFailure::Broken => self.handshake_broken.add(),
        }
    }
}

impl HandshakeFailure {
    /// The kind of an error of the TLS acceptor.
    pub(super) fn of(error: &std::io::Error) -> Self {
        use rustls::Error as Tls;
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) else {
            return Self::Broken;
        };
        match error {
            Tls::NoCertificatesPresented => Self::NoCertificate,
            Tls::InvalidCertificate(why) => Self::of_certificate(why),
            Tls::PeerIncompatible(_) | Tls::NoApplicationProtocol => Self::Incompatible,
            Tls::AlertReceived(_) => Self::RefusedByClient,
            _ => Self::Protocol,
        }
    }

    fn of_certificate(error: &rustls::CertificateError) -> Self {
        use rustls::CertificateError as Why;
        match error {
            Why::Expired | Why::ExpiredContext { .. } | Why::NotValidYet | Why::NotValidYetContext { .. } => {
                Self::Expired
            }
            _ => Self::BadCertificate,
        }
    }
}
