//! What the configuration says about a question: whose it is, and what needs no upstream.

pub mod acl;
pub mod hot;
pub mod hosts;
pub mod local;
pub mod dns64;
pub mod loops;
pub mod pattern;
pub mod rewrite;
pub mod route;
pub mod search;
pub mod template;
