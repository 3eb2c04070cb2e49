//! `stonechatd` as a process: what an operator starts, what clients dial, what a crash leaves.

mod harness;
mod hostile;
mod operator;
mod talk;
mod web;
