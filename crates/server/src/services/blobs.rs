//! Blobs: ciphertext too large for an entry, in chunks. Who holds the secret may write, who knows its hash may read.

use stonechat_wire::limits::{BLOB_CHUNK_BYTES_MAX, BLOB_CHUNKS_MAX, BLOB_TTL_SECS};
use stonechat_wire::{BlobId, Bytes, Capability, ErrorCode, Failure, Reply, Seq, Timestamp, Token};

use super::tokens::Purpose;
use super::{Services, keys, refuse, store_failed};
use crate::store::{Append, Expect, KeyedLog};

impl<S: KeyedLog> Services<S> {
    /// [`stonechat_wire::Request::AppendBlob`]: chunks in order; the first is paid for.
    pub(crate) async fn append_blob(
        &self,
        now: Timestamp,
        write: &Capability,
        token: Option<&Token>,
        chunk: Seq,
        bytes: Bytes<BLOB_CHUNK_BYTES_MAX>,
    ) -> Result<Reply, Failure> {
        if chunk.0 == 0 {
            return Err(refuse(ErrorCode::Malformed));
        }
        if chunk.0 > BLOB_CHUNKS_MAX as u64 {
            return Err(refuse(ErrorCode::Full));
        }
        let id = BlobId::of(write);
        let key = keys::blob(&id);
        let same =
            |stored: &[u8]| if *stored == bytes[..] { Ok(Reply::Done) } else { Err(refuse(ErrorCode::Conflict)) };
        if let Some(stored) = self.entry_at(&key, chunk, now).await? {
            return same(&stored.bytes);
        }
        let expect = if chunk.0 == 1 {
            let token = token.ok_or(refuse(ErrorCode::InvalidToken))?;
            self.redeem(token, Purpose::new("blob").with(&id.0), true, now).await?;
            Expect::Empty
        } else {
            Expect::Last(Seq(chunk.0 - 1))
        };
        match self.append_bytes(&key, expect, bytes.to_vec(), Some(BLOB_TTL_SECS), now).await? {
            Append::Appended(_) => Ok(Reply::Done),
            // Another request wrote it since, or the chunks before it are missing.
            Append::Conflict { .. } => match self.entry_at(&key, chunk, now).await? {
                Some(stored) => same(&stored.bytes),
                None => Err(refuse(ErrorCode::Conflict)),
            },
        }
    }

    /// [`stonechat_wire::Request::ReadBlob`].
    pub(crate) async fn read_blob(&self, now: Timestamp, blob: &BlobId, chunk: Seq) -> Result<Reply, Failure> {
        let entry = self.entry_at(&keys::blob(blob), chunk, now).await?.ok_or(refuse(ErrorCode::NotFound))?;
        let bytes = Bytes::new(entry.bytes).map_err(|_| store_failed("a stored chunk is too long"))?;
        Ok(Reply::Chunk { bytes })
    }
}

#[cfg(test)]
mod tests {
    use stonechat_wire::Request;

    use super::*;
    use crate::services::testing::world;

    fn append(chunk: u64, byte: u8, token: Option<Token>) -> Request {
        let bytes = Bytes::new(vec![byte; 100]).unwrap();
        Request::AppendBlob { write: Capability::from_bytes([5; 32]), token, chunk: Seq(chunk), bytes }
    }

    #[test]
    fn chunks_are_written_in_order_and_read_by_who_knows_the_id() {
        let world = world();
        let mut session = world.session();
        assert_eq!(world.refused(&mut session, append(1, 1, None)), ErrorCode::InvalidToken);
        assert_eq!(world.refused(&mut session, append(2, 2, None)), ErrorCode::Conflict);
        assert_eq!(world.ask(&mut session, append(1, 1, Some(world.token()))), Ok(Reply::Done));
        assert_eq!(world.ask(&mut session, append(1, 1, None)), Ok(Reply::Done), "the same chunk again");
        assert_eq!(world.refused(&mut session, append(1, 9, None)), ErrorCode::Conflict);
        assert_eq!(world.ask(&mut session, append(2, 2, None)), Ok(Reply::Done));
        let blob = BlobId::of(&Capability::from_bytes([5; 32]));
        let reply = world.ask(&mut session, Request::ReadBlob { blob, chunk: Seq(2) });
        assert_eq!(reply, Ok(Reply::Chunk { bytes: Bytes::new(vec![2; 100]).unwrap() }));
        for chunk in [0, 3, u64::MAX] {
            assert_eq!(world.refused(&mut session, Request::ReadBlob { blob, chunk: Seq(chunk) }), ErrorCode::NotFound);
        }
    }

    #[test]
    fn a_blob_has_a_bounded_number_of_chunks() {
        let world = world();
        let mut session = world.session();
        assert_eq!(world.refused(&mut session, append(65, 1, None)), ErrorCode::Full);
        assert_eq!(world.refused(&mut session, append(0, 1, None)), ErrorCode::Malformed);
    }
}
