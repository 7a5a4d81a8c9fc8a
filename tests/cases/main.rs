//! The end-to-end cases: real programs, real taps, real guests. Root is needed.

mod harness;
mod identity;
mod seeds;
