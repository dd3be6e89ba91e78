//! The hub: members connect to it, it routes, throttles and records; it never authorises alone.
//! The way of a request is [`exchange`]; every store and whether it is trusted stands in
//! `hub/ARCHITECTURE.md`.

pub mod auditors;
pub mod cases;
pub mod config;
pub mod context;
pub mod denials;
pub mod directory;
pub mod evidence;
pub mod exchange;
pub mod ledger;
pub mod lifecycle;
pub mod limits;
pub mod links;
pub mod meters;
pub mod offers;
pub mod orders;
pub mod overload;
pub mod quotas;
pub mod records;
pub mod replies;
pub mod rest;
pub mod rpc;
pub mod stages;
pub mod standings;
pub mod status;
pub mod streams;
pub mod tls;
pub mod views;
pub mod witness;
