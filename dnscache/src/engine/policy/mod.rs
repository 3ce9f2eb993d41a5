//! What the configuration says about a question: whose it is, and what needs no upstream.

pub mod acl;
pub mod hot;
pub mod hosts;
pub mod local;
pub mod loops;
pub mod route;
pub mod search;
