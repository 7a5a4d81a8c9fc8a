//! `mezame-bench`: runs the measurements and prints their rows.

fn main() {}
