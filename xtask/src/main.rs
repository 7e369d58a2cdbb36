//! automation
fn main() {}
