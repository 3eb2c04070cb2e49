//! Blobs on their way up and down, by their id: what is too large for a letter.
//!
//! Owns the rows of the blobs' table. Never knows what is in a blob: it is sealed before it comes here, and opened by whoever
//! fetches it.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use stonechat_wire::limits::{BLOB_CHUNK_BYTES_MAX, BLOB_CHUNKS_MAX};
use stonechat_wire::{BlobId, Bytes, Capability, ErrorCode, Failure, Reply, Request, Seq, Timestamp};

use crate::api::Link;
use crate::crypto::Secret;
use crate::error::CoreError;
use crate::links::Room;
use crate::step::{Ctx, Questions};
use crate::store::{Read as _, Record, Table};
use crate::supplies::take_token;

/// A blob on its way up. Under its id; its chunks under the id and their number.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Upload {
    #[n(0)]
    write: Secret,
    #[n(1)]
    chunks: u32,
    /// Chunks that the server has.
    #[n(2)]
    sent: u32,
}

impl Record for Upload {
    const TABLE: Table = Table::Blob;
    type Key = BlobId;
    fn key(id: &BlobId) -> Vec<u8> {
        id.0.to_vec()
    }
}

/// What is asked.
enum Question {
    Append(BlobId),
    Read { blob: BlobId, chunk: u32 },
}

/// Blobs on their way.
pub(crate) struct Blobs {
    questions: Questions<Question>,
    /// Uploads that the server put off: until when.
    put_off: BTreeMap<BlobId, Timestamp>,
}

impl Default for Blobs {
    fn default() -> Self {
        Self { questions: Questions::of(Room::Blobs), put_off: BTreeMap::new() }
    }
}

impl Blobs {
    pub(crate) fn disconnected(&mut self, link: Link) {
        self.questions.lost(link);
    }

    /// Goes on with an upload. Returns whether the blob is up.
    pub(crate) fn upload(&mut self, ctx: &mut Ctx<'_>, blob: BlobId) -> Result<bool, CoreError> {
        let Some(upload) = ctx.txn.load::<Upload>(&blob)? else { return Ok(true) };
        if self.questions.has(|question| matches!(question, Question::Append(other) if *other == blob)) {
            return Ok(false);
        }
        if let Some(until) = self.put_off.get(&blob).filter(|until| **until > ctx.now) {
            ctx.wake(*until, "a blob is sent again");
            return Ok(false);
        }
        self.put_off.remove(&blob);
        let chunk = upload.sent + 1;
        let token = match chunk {
            // The first one pays for all.
            1 => match take_token(ctx)? {
                Some(token) => Some(token),
                None => return Ok(false),
            },
            _ => None,
        };
        let bytes = ctx.txn.get(Table::Blob, &chunk_key(&blob, chunk))?;
        let bytes = bytes.ok_or_else(|| CoreError::bug("a chunk vanished"))?;
        let bytes = Bytes::new(bytes).map_err(|_| CoreError::bug("a chunk over its bound"))?;
        let write = Capability::from_bytes(*upload.write.danger_bytes());
        let request = Request::AppendBlob { write, token, chunk: Seq(u64::from(chunk)), bytes };
        self.questions.ask(ctx, Link::Anonymous, request, Question::Append(blob));
        Ok(false)
    }

    /// The bytes of a blob of so many chunks, once all are here. Until then the next one is asked for.
    pub(crate) fn fetch(&mut self, ctx: &mut Ctx<'_>, blob: BlobId, chunks: u32) -> Result<Option<Vec<u8>>, CoreError> {
        let mut whole = Vec::new();
        for chunk in 1..=chunks {
            match ctx.txn.get(Table::Blob, &chunk_key(&blob, chunk))? {
                Some(bytes) => whole.extend(bytes),
                None => {
                    let asked = |q: &Question| matches!(q, Question::Read { blob: other, .. } if *other == blob);
                    if !self.questions.has(asked) {
                        let request = Request::ReadBlob { blob, chunk: Seq(u64::from(chunk)) };
                        self.questions.ask(ctx, Link::Anonymous, request, Question::Read { blob, chunk });
                    }
                    return Ok(None);
                }
            }
        }
        Ok(Some(whole))
    }

    /// Returns whether the answer fits.
    pub(crate) fn answered(&mut self, ctx: &mut Ctx<'_>, link: Link, id: u32, reply: Reply) -> Result<bool, CoreError> {
        match (self.questions.take(link, id), reply) {
            (Some(Question::Append(blob)), Reply::Done) => {
                let Some(mut upload) = ctx.txn.load::<Upload>(&blob)? else { return Ok(true) };
                upload.sent += 1;
                if upload.sent >= upload.chunks {
                    ctx.txn.remove::<Upload>(&blob);
                    forget_chunks(ctx, &blob, upload.chunks);
                } else {
                    ctx.txn.store(&blob, &upload);
                }
            }
            (Some(Question::Read { blob, chunk }), Reply::Chunk { bytes }) => {
                ctx.txn.put(Table::Blob, chunk_key(&blob, chunk), bytes.to_vec());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn refused(&mut self, ctx: &mut Ctx<'_>, link: Link, id: u32, failure: &Failure) {
        match self.questions.take(link, id) {
            Some(Question::Append(blob)) => {
                let until = ctx.now.plus_secs(u64::from(failure.retry_after_secs.unwrap_or(2)));
                self.put_off.insert(blob, until);
            }
            Some(Question::Read { blob, .. }) if failure.code == ErrorCode::NotFound => ctx.mail.missing.push(blob),
            Some(Question::Read { .. }) | None => {}
        }
    }
}

/// Keeps a blob that is to be sent up, and says how many chunks it has; `None` when it is too large.
pub(crate) fn keep(ctx: &mut Ctx<'_>, ciphertext: &[u8]) -> Option<(BlobId, u32)> {
    let chunks = ciphertext.chunks(BLOB_CHUNK_BYTES_MAX);
    let count = u32::try_from(chunks.len()).ok().filter(|count| *count as usize <= BLOB_CHUNKS_MAX)?;
    let write = Secret::random(ctx.rng);
    let blob = BlobId::of(&Capability::from_bytes(*write.danger_bytes()));
    for (number, chunk) in (1..).zip(chunks) {
        ctx.txn.put(Table::Blob, chunk_key(&blob, number), chunk.to_vec());
    }
    ctx.txn.store(&blob, &Upload { write, chunks: count, sent: 0 });
    Some((blob, count))
}

/// Deletes the chunks of a blob that is here, or is up.
pub(crate) fn forget_chunks(ctx: &mut Ctx<'_>, blob: &BlobId, chunks: u32) {
    for chunk in 1..=chunks {
        ctx.txn.delete(Table::Blob, chunk_key(blob, chunk));
    }
}

/// Whether nothing is on its way, up or down.
pub(crate) fn all_settled(ctx: &Ctx<'_>) -> Result<bool, CoreError> {
    Ok(ctx.txn.starting_with(Table::Blob, &[], 1)?.is_empty())
}

fn chunk_key(id: &BlobId, chunk: u32) -> Vec<u8> {
    [id.0.as_slice(), &chunk.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Home;

    fn keep_of(home: &mut Home, bytes: usize) -> Option<(BlobId, u32)> {
        home.step(|ctx| keep(ctx, &vec![7; bytes])).value
    }

    fn failure(code: ErrorCode) -> Failure {
        Failure { code, retry_after_secs: Some(3), detail: None }
    }

    #[test]
    fn a_blob_goes_up_chunk_by_chunk_and_is_then_forgotten() {
        let mut home = Home::online("alice");
        home.give_tokens(1);
        let (blob, chunks) = keep_of(&mut home, BLOB_CHUNK_BYTES_MAX + 1).unwrap();
        assert_eq!(chunks, 2);
        let mut blobs = Blobs::default();
        for id in 1..=2 {
            let out = home.step(|ctx| blobs.upload(ctx, blob).unwrap());
            assert!(!out.value);
            let paid = matches!(out.requests()[..], [Request::AppendBlob { token: Some(_), .. }]);
            assert_eq!(paid, id == 1, "the first chunk pays for all");
            // What is asked is not asked twice.
            assert!(home.step(|ctx| blobs.upload(ctx, blob).unwrap()).requests().is_empty());
            assert!(home.step(|ctx| blobs.answered(ctx, Link::Anonymous, id, Reply::Done).unwrap()).value);
        }
        assert!(home.step(|ctx| blobs.upload(ctx, blob).unwrap()).value);
        assert!(home.step(|ctx| all_settled(ctx).unwrap()).value);
    }

    #[test]
    fn an_upload_without_a_token_waits_and_one_that_was_put_off_is_tried_later() {
        let mut home = Home::online("alice");
        let (blob, _) = keep_of(&mut home, 10).unwrap();
        let mut blobs = Blobs::default();
        assert!(home.step(|ctx| blobs.upload(ctx, blob).unwrap()).requests().is_empty());
        home.give_tokens(2);
        assert_eq!(home.step(|ctx| blobs.upload(ctx, blob).unwrap()).requests().len(), 1);
        home.step(|ctx| blobs.refused(ctx, Link::Anonymous, 1, &failure(ErrorCode::Slow)));
        assert!(home.step(|ctx| blobs.upload(ctx, blob).unwrap()).requests().is_empty());
        home.now = home.now.plus_secs(3);
        assert_eq!(home.step(|ctx| blobs.upload(ctx, blob).unwrap()).requests().len(), 1);
    }

    #[test]
    fn a_blob_that_is_too_large_is_not_kept() {
        let mut home = Home::of("alice");
        assert!(keep_of(&mut home, BLOB_CHUNKS_MAX * BLOB_CHUNK_BYTES_MAX).is_some());
        assert_eq!(keep_of(&mut home, BLOB_CHUNKS_MAX * BLOB_CHUNK_BYTES_MAX + 1), None);
    }

    #[test]
    fn a_blob_is_fetched_in_order_and_one_that_is_gone_is_mail() {
        let mut home = Home::online("alice");
        let (blob, mut blobs) = (BlobId([3; 32]), Blobs::default());
        for id in 1..=2 {
            let out = home.step(|ctx| blobs.fetch(ctx, blob, 2).unwrap());
            assert!(out.value.is_none());
            assert!(matches!(out.requests()[..], [Request::ReadBlob { chunk: Seq(n), .. }] if *n == u64::from(id)));
            let bytes = Bytes::new(vec![u8::try_from(id).unwrap()]).unwrap();
            assert!(home.step(|ctx| blobs.answered(ctx, Link::Anonymous, id, Reply::Chunk { bytes }).unwrap()).value);
        }
        assert_eq!(home.step(|ctx| blobs.fetch(ctx, blob, 2).unwrap()).value, Some(vec![1, 2]));
        let other = BlobId([4; 32]);
        home.step(|ctx| blobs.fetch(ctx, other, 1).unwrap());
        let missing = home.step(|ctx| {
            blobs.refused(ctx, Link::Anonymous, 3, &failure(ErrorCode::NotFound));
            ctx.mail.missing.clone()
        });
        assert_eq!(missing.value, [other]);
    }

    #[test]
    fn an_answer_to_nothing_or_of_another_kind_does_not_fit() {
        let mut home = Home::online("alice");
        let mut blobs = Blobs::default();
        assert!(!home.step(|ctx| blobs.answered(ctx, Link::Anonymous, 1, Reply::Done).unwrap()).value);
        home.step(|ctx| blobs.fetch(ctx, BlobId([3; 32]), 1).unwrap());
        assert!(!home.step(|ctx| blobs.answered(ctx, Link::Anonymous, 1, Reply::Done).unwrap()).value);
    }
}
