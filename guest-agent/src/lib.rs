//! The guest agent: a guest fetches its document from the link-local endpoint and becomes what
//! the document says.
//!
//! One way through, in [`boot`]: discover → fetch → plan → apply → report. [`plan`] is pure; every
//! touch of the operating system goes through [`platform::Platform`]; [`ledger`] remembers what
//! was done, so that nothing that says "once" runs twice.
//!
//! The parsers ([`user_data::parse`], [`user_data::mime::parse`],
//! [`user_data::cloud_config::parse`], [`user_data::yaml::parse`], [`source::http::parse_head`])
//! take any bytes and never panic.

pub mod account;
pub mod apply;
pub mod authorized_keys;
pub mod backoff;
pub mod boot;
pub mod command;
pub mod doctor;
pub mod endpoint;
pub mod eviction;
pub mod exit_code;
pub mod facts;
pub mod firewall;
pub mod freeze;
pub mod hpke;
pub mod ledger;
pub mod licence;
pub mod netsh;
pub mod outbox;
pub mod password;
pub mod plan;
pub mod platform;
pub mod remote_desktop;
pub mod rsa_cipher;
pub mod sddl;
pub mod seal;
pub mod settings;
pub mod source;
pub mod sshd_config;
pub mod stale_routes;
pub mod status;
pub mod step;
pub mod thumbprint;
pub mod unlock;
pub mod user_data;
pub mod windows_key;
pub mod windows_script;
pub mod winrm;
