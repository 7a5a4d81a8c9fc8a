//! `mezame`, the operator's command: a client of the operator API and nothing more.
//!
//! It reads seeds, sends them, and shows what came back, to people as tables and diffs, to
//! programs as JSON and YAML. It decides nothing about a seed: what is valid is the control
//! plane's to say, and this crate's to show at the right line. A library with a thin binary, so
//! that the reader of seeds can be fuzzed and tested by itself.

pub mod bundle;
pub mod client;
pub mod command;
pub mod diff;
pub mod exit;
pub mod explain;
pub mod failure;
pub mod fault_report;
pub mod kind_name;
pub mod progress;
pub mod run;
pub mod screen;
pub mod seed;
pub mod settings;
pub mod size;
pub mod table;
pub mod text;
