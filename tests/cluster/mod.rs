//! A cluster's DNS on one machine: what exists in it, the server that says so, and a client that
//! walks its search list as a libc does. Shared by the tests and by the `ndots` example.

pub mod world;
pub mod external;
pub mod sample;
pub mod upstream;
pub mod walk;
pub mod exchange;
