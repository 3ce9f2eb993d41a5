//! The echo: this bench's own program, started with a hidden first argument.

use std::process::Command;

use super::{Found, Place};

pub(super) fn find() -> Found {
    let path = std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
    Ok((path, "batched UDP echo of this bench".to_owned()))
}

pub(super) fn configure(command: &mut Command, place: &Place) {
    command.args(["echo", "--address"]).arg(place.address.to_string());
}
