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
