//! The Amazon VPC CNI as a model: which addresses a node holds, when it asks EC2 for more, and when
//! it gives them back. Read from aws/amazon-vpc-cni-k8s v1.23.1.
//!
//! Times are milliseconds since the start of a trace (`_ms`), everywhere.

pub mod limits;

pub mod settings;

pub mod environment;

pub mod pool;

pub mod ipamd;

pub mod rest;

pub mod state;

pub mod explain;

pub mod ec2;

pub mod subnet;

pub mod world;

pub mod simulate;

pub mod outcome;
