//! Scenarios: what people do while the world misbehaves, and what must hold when it stops.
//!
//! The reference model is the list of texts that were sent and who was a member when. After the faults end and everything
//! has settled: every member of a conversation shows the same transcript for the time of their membership; every message that
//! its sender saw as sent is in it once; a message that arrived says what its sender wrote; nobody shows a message from
//! before they joined or after they left.

use std::collections::{BTreeMap, BTreeSet};

use stonechat_core::api::{Body, Text};
use stonechat_core::{Command, Event, Message, Outcome, Status, Target, query};
use stonechat_wire::ConversationId;

use crate::craft::{BREACHES, GHOST, STOLEN_NAME};
use crate::hostile::{Kind, Tamper};
use crate::world::{Faults, World};

/// What was found wrong: the seed shows it again.
#[derive(Debug)]
pub struct Violation(pub String);

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}

/// What a run did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Messages that were asked to be sent.
    pub sent: usize,
    /// Messages that arrived, counted for each reader.
    pub read: usize,
    /// Steps of all cores.
    pub steps: u64,
    /// Things that were rejected.
    pub refused: usize,
    /// Commits that broke a rule.
    pub breaches: usize,
    /// Conversations in which a lying server showed one client another order, or less, and nobody could notice: what it does
    /// to the last entries before a commit is compared by no later message (docs/threat-model.md).
    pub unnoticed: usize,
    /// Over all frames, see [`World::digest`].
    pub digest: [u8; 32],
}

const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];
/// Simulated time for everything to settle after the faults end.
const SETTLE_MS: u64 = 400_000;

struct Run {
    world: World,
    texts: BTreeMap<String, usize>,
    groups: Vec<ConversationId>,
    report: Report,
}

/// One run from a seed: honest clients, faults, and for some seeds a hostile server or member.
///
/// # Errors
/// [`Violation`] says what did not hold.
pub fn run(seed: u64, steps: usize) -> Result<Report, Violation> {
    let mut world = World::new(seed);
    let people = 3 + world.below(3);
    for name in &NAMES[..people] {
        world.join(name);
    }
    let mut run = Run { world, texts: BTreeMap::new(), groups: Vec::new(), report: Report::default() };
    run.world.run_ms(5_000);
    // One half of the seeds: honest everybody, unreliable everything. The other: somebody hostile, on a reliable network.
    let hostile = match seed % 20 {
        10 => Some(Kind::Drop),
        11 => Some(Kind::Replay),
        12 => Some(Kind::Reorder),
        13 => Some(Kind::Truncate),
        14 => Some(Kind::Corrupt),
        15 => Some(Kind::Invent),
        16 => Some(Kind::GarbageCommit),
        17 => Some(Kind::Craft),
        18 => Some(Kind::WrongCapability),
        19 => Some(Kind::Repeat),
        _ => None,
    };
    let by_member = matches!(hostile, Some(Kind::GarbageCommit | Kind::WrongCapability | Kind::Repeat | Kind::Craft));
    let faults = Faults { break_per_mille: 15, crash_per_mille: 6, delay_ms_max: 300 };
    run.world.faults = if hostile.is_none() { faults } else { Faults { delay_ms_max: 300, ..Faults::NONE } };
    let mut lied_to = None;
    if let Some(kind) = hostile {
        let victim = run.world.below(people);
        let tamper = Tamper { kind, victim, per_mille: if by_member { 400 } else { 60 }, times: 0 };
        if by_member {
            run.world.clients[victim].tamper = Some(tamper);
        } else {
            lied_to = Some(victim);
            run.world.hostile_server = Some(tamper);
        }
    }
    let crafter =
        if hostile == Some(Kind::Craft) { run.world.clients.iter().position(|c| c.tamper.is_some()) } else { None };
    for _ in 0..steps {
        run.act();
        if let Some(crafter) = crafter {
            run.break_a_rule(crafter);
        }
        let pause = run.world.below(1_500) as u64;
        run.world.run_ms(pause);
        run.note_memberships();
        run.accept_requests();
    }
    // Everything goes well from now on, and everybody starts afresh, as after a night.
    run.world.faults = Faults::NONE;
    run.world.hostile_server = None;
    let villain = run.world.clients.iter().position(|client| client.tamper.is_some());
    for client in 0..people {
        run.world.clients[client].tamper = None;
        run.world.crash(client);
    }
    for _ in 0..20 {
        run.world.run_ms(SETTLE_MS / 20);
        run.accept_requests();
    }
    run.report.steps = run.world.clients.iter().map(|client| client.steps).sum();
    run.report.refused = run.refusals();
    run.report.digest = run.world.digest();
    run.check(lied_to, villain).map_err(|violation| Violation(format!("{violation}\n{}", run.told())))?;
    Ok(run.report)
}

impl Run {
    fn act(&mut self) {
        let people = self.world.clients.len();
        let who = self.world.below(people);
        let other = (who + 1 + self.world.below(people - 1)) % people;
        let other_handle = self.world.clients[other].handle.clone();
        match self.world.below(100) {
            0..35 => {
                let text = self.text(who);
                self.world.command(who, Command::Send { to: Target::Person(other_handle), text: text.into() });
            }
            35..70 => {
                if let Some(group) = self.some_group(who) {
                    let text = self.text(who);
                    self.world.command(who, Command::Send { to: Target::Conversation(group), text: text.into() });
                }
            }
            70..76 => {
                let command = self.world.command(
                    who,
                    Command::CreateGroup {
                        name: format!("group {}", self.groups.len()).into(),
                        members: vec![other_handle],
                    },
                );
                self.world.run_ms(1_000);
                if let Some(Ok(Outcome::Conversation(id))) = self.world.clients[who].finished.get(&command) {
                    self.groups.push(*id);
                }
            }
            76..82 => {
                if let Some(group) = self.some_group(who) {
                    self.world.command(who, Command::AddMembers { group, members: vec![other_handle] });
                }
            }
            82..85 => {
                if let Some(group) = self.some_group(who) {
                    self.world.command(who, Command::RemoveMember { group, member: other_handle });
                }
            }
            85..87 => {
                if let Some(group) = self.some_group(who) {
                    self.world.command(who, Command::Leave { group });
                }
            }
            87..90 => {
                if let Some(group) = self.some_group(who) {
                    let name = format!("renamed {}", self.world.below(1_000));
                    self.world.command(who, Command::Rename { group, name: name.into() });
                }
            }
            90..93 => {
                if let Some(conversation) = self.some_group(who) {
                    self.world.command(who, Command::Refresh { conversation });
                }
            }
            93..96 => {
                let ms = self.world.below(20_000) as u64;
                self.world.offline(who, ms);
            }
            96..98 => self.world.crash(who),
            _ => self.world.restart_server(),
        }
    }

    /// Now and then: in some conversation of theirs, in some way.
    fn break_a_rule(&mut self, who: usize) {
        let mine = query::conversations(&self.world.clients[who].vault).unwrap_or_default();
        let mine: Vec<_> = mine.into_iter().filter(|c| c.active).map(|c| c.id).collect();
        if mine.is_empty() || !self.world.chance(300) {
            return;
        }
        let id = mine[self.world.below(mine.len())];
        let breach = BREACHES[self.world.below(BREACHES.len())];
        self.report.breaches += usize::from(self.world.breach(who, id, breach));
    }

    fn text(&mut self, who: usize) -> String {
        let text = format!("message {} of {}", self.texts.len(), NAMES[who]);
        self.texts.insert(text.clone(), who);
        self.report.sent += 1;
        text
    }

    fn some_group(&mut self, who: usize) -> Option<ConversationId> {
        let mine = query::conversations(&self.world.clients[who].vault).ok()?;
        let mine: Vec<_> = mine.into_iter().filter(|c| c.is_group && c.active).map(|c| c.id).collect();
        (!mine.is_empty()).then(|| mine[self.world.below(mine.len())])
    }

    fn accept_requests(&mut self) {
        for who in 0..self.world.clients.len() {
            for request in query::requests(&self.world.clients[who].vault).unwrap_or_default() {
                self.world.command(who, Command::Accept { from: request.handle });
            }
        }
    }

    /// What the clients were told, for whoever reads a failing seed.
    fn told(&self) -> String {
        let mut lines = Vec::new();
        for client in &self.world.clients {
            for conversation in query::conversations(&client.vault).unwrap_or_default() {
                let members: Vec<_> = conversation.members.iter().map(|member| member.handle.to_string()).collect();
                let (id, title) = (conversation.id, conversation.title);
                lines.push(format!(
                    "{}: {id:?} {title:?} {members:?} {:?} {:?}",
                    client.handle, conversation.active, conversation.hold
                ));
            }
            lines.extend(client.events.iter().filter_map(|event| match event {
                Event::Refused { conversation, what } => Some(format!("{}: {conversation:?} {what}", client.handle)),
                _ => None,
            }));
        }
        lines.join("\n")
    }

    fn note_memberships(&mut self) {
        for who in 0..self.world.clients.len() {
            for conversation in query::conversations(&self.world.clients[who].vault).unwrap_or_default() {
                self.world.note_membership(who, conversation.id);
            }
        }
    }

    fn refusals(&self) -> usize {
        self.world
            .clients
            .iter()
            .flat_map(|client| &client.events)
            .filter(|event| matches!(event, Event::Refused { .. }))
            .count()
    }

    /// `lied_to`: what the server hid from them may be missing, and is noticed as far as that is possible. `villain`: a member
    /// who cheated may lose.
    fn check(&mut self, lied_to: Option<usize>, villain: Option<usize>) -> Result<(), Violation> {
        let wrong = |what: String| Err(Violation(what));
        let mut conversations: BTreeSet<ConversationId> = BTreeSet::new();
        for client in &self.world.clients {
            conversations.extend(query::conversations(&client.vault).unwrap_or_default().iter().map(|c| c.id));
        }
        for id in conversations {
            let mut transcripts: Vec<(usize, bool, Vec<Message>)> = Vec::new();
            for who in 0..self.world.clients.len() {
                let Ok(Some(conversation)) = query::conversation(&self.world.clients[who].vault, &id) else { continue };
                transcripts.push((who, conversation.active, self.world.transcript(who, &id)));
            }
            for (who, active, transcript) in &transcripts {
                let name = NAMES[*who];
                let mut seen = BTreeSet::new();
                for message in transcript {
                    if matches!(message.body, Body::Notice(_)) {
                        continue;
                    }
                    let Body::Text(Text(text)) = &message.body else {
                        return wrong(format!("{name} shows something that nobody wrote"));
                    };
                    if !seen.insert(text) {
                        return wrong(format!("{name} shows \"{text}\" twice in {id}"));
                    }
                    match self.texts.get(text) {
                        None => return wrong(format!("{name} shows \"{text}\", which nobody wrote")),
                        Some(author) if self.world.clients[*author].handle != message.sender_handle => {
                            return wrong(format!("{name} shows \"{text}\" as written by {}", message.sender_handle));
                        }
                        Some(_) => {}
                    }
                    if *active && message.status == Status::Queued && Some(*who) != villain {
                        return wrong(format!("{name}'s \"{text}\" is still waiting in {id}"));
                    }
                }
                self.report.read += transcript.iter().filter(|message| message.status == Status::Received).count();
            }
            if lied_to.is_some() && self.refusals() > 0 {
                continue;
            }
            if lied_to.is_some() && self.same_transcript(&id, &transcripts, villain).is_err() {
                self.report.unnoticed += 1;
                transcripts.retain(|(who, ..)| Some(*who) != lied_to);
            }
            self.same_transcript(&id, &transcripts, villain)?;
            self.same_members(&id, villain)?;
        }
        Ok(())
    }

    /// Whoever is in a conversation and honest says the same about it, and nothing that only a breach could have made so.
    fn same_members(&self, id: &ConversationId, villain: Option<usize>) -> Result<(), Violation> {
        let mut said: Option<(usize, String)> = None;
        for who in (0..self.world.clients.len()).filter(|who| Some(*who) != villain) {
            let conversation = query::conversation(&self.world.clients[who].vault, id).ok().flatten();
            let Some(conversation) = conversation.filter(|c| c.active && c.is_group) else { continue };
            let mut members: Vec<_> =
                conversation.members.iter().map(|m| format!("{} {:?}", m.handle, m.role)).collect();
            members.sort_unstable();
            let says = format!("{:?} {members:?}", conversation.title);
            if says.contains(GHOST) || says.contains(STOLEN_NAME) {
                return Err(Violation(format!("{} follows a breach: {id} is {says}", NAMES[who])));
            }
            match &said {
                Some((other, said)) if *said != says => {
                    let names = (NAMES[who], NAMES[*other]);
                    return Err(Violation(format!("{names:?} disagree about {id}:\n  {says}\n  {said}")));
                }
                _ => said = Some((who, says)),
            }
        }
        Ok(())
    }

    /// What two show in common, they show in the same order; and who never was out of it lacks nothing that another shows
    /// after the first message that both have.
    fn same_transcript(
        &self,
        id: &ConversationId,
        transcripts: &[(usize, bool, Vec<Message>)],
        villain: Option<usize>,
    ) -> Result<(), Violation> {
        let honest: Vec<_> = transcripts.iter().filter(|(who, ..)| Some(*who) != villain).collect();
        for (one, active, messages) in &honest {
            let mine = delivered(messages);
            let always = *active && !self.world.clients[*one].left.contains(id);
            for (other, _, messages) in honest.iter().filter(|(other, ..)| other != one) {
                let theirs = delivered(messages);
                let common = |list: &[String], of: &[String]| {
                    list.iter().filter(|m| of.contains(m)).cloned().collect::<Vec<_>>()
                };
                let (here, there) = (common(&mine, &theirs), common(&theirs, &mine));
                let names = (NAMES[*one], NAMES[*other]);
                if here != there {
                    return Err(Violation(format!("{names:?} show {id} in another order:\n  {here:?}\n  {there:?}")));
                }
                let Some(first) = there.first().filter(|_| always) else { continue };
                let lacks = theirs.iter().skip_while(|m| *m != first).find(|m| !mine.contains(m));
                if let Some(message) = lacks {
                    return Err(Violation(format!("{} lacks {message} of {id}, which {} shows", names.0, names.1)));
                }
            }
        }
        Ok(())
    }
}

fn delivered(messages: &[Message]) -> Vec<String> {
    let said = messages.iter().filter(|m| !matches!(m.body, Body::Notice(_)));
    let delivered = said.filter(|m| m.status != Status::Failed && m.status != Status::Queued);
    delivered.map(|m| format!("{:?}", (m.id, &m.sender_handle))).collect()
}
