//! `stonechatd` as a process: what an operator starts, what clients dial, what a crash leaves.

mod admin;
mod backup;
mod check;
mod directory;
mod full_disk;
mod harness;
mod hostile;
mod operator;
#[path = "../../../sim/tests/support/programs.rs"]
mod programs;
mod several;
mod small_disk;
#[path = "../../../../tests/postgres/support.rs"]
mod support;
mod talk;
mod web;
