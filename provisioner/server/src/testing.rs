//! What several test modules use: a client over each kind of connection.

pub(crate) mod http;
