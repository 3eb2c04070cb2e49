//! Three people who know each other.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use crate::support::{Home, eventually, introduce};

/// Alice opens a conversation with Bob, who accepts, and a group with both others, who join. The group's id.
pub(crate) fn befriend([alice, bob, carol]: [&Home; 3], greeting: &str, group: &str) -> String {
    introduce(alice, bob, greeting);
    let made = alice.ok(&["group", "create", group, &bob.handle, &carol.handle]);
    let id = made[0]["conversation"].as_str().unwrap().to_owned();
    for home in [bob, carol] {
        eventually("they join the group", || {
            if home.ok(&["requests"]).iter().any(|request| request["kind"] == "group") {
                home.ok(&["accept", &alice.handle]);
            }
            home.ok(&["conversations"]).iter().any(|conversation| conversation["title"] == group)
        });
    }
    id
}
