//! Request and response headers: read in place, written by the side that asks or answers.
//!
//! Whether a header carries tagged fields depends on the API and its version. The table below is
//! the `flexibleVersions` of Kafka 4.1's message definitions; a test compares it with the
//! `kafka-protocol` crate for every API and version that the crate knows.

use bytes::BufMut;

use crate::cursor::Cursor;
use crate::{WireError, put};

/// ApiVersions: its response header never has tagged fields, since a client reads it before it
/// knows what the broker speaks (KIP-511).
const API_VERSIONS: i16 = 18;
/// ControlledShutdown: version 0 had a header of its own, without a client id.
const CONTROLLED_SHUTDOWN: i16 = 7;

/// For APIs without flexible versions.
const NEVER: i16 = i16::MAX;

/// The first flexible version (KIP-482) by API key; ten keys per row.
const FIRST_FLEXIBLE: [i16; 93] = [
    9, 12, 6, 9, 4, 2, 6, 3, 8, 6, // 0 Produce ..
    3, 6, 4, 4, 4, 5, 3, NEVER, 3, 5, // 10 FindCoordinator .. (17: SaslHandshake)
    4, 2, 2, 4, 3, 3, 3, 1, 3, 2, // 20 DeleteTopics ..
    2, 2, 4, 2, 2, 2, 2, 2, 2, 2, // 30 CreateAcls ..
    2, 2, 2, 2, 1, 0, 0, NEVER, 1, 1, // 40 ExpireDelegationToken .. (47: OffsetDelete)
    0, 0, 0, 1, 1, 0, 0, 0, 0, 0, // 50 DescribeUserScramCredentials ..
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 60 DescribeCluster ..
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 70 ControllerRegistration ..
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 80 AddRaftVoter ..
    0, 0, 0, // 90 DescribeShareGroupOffsets ..
];

/// Whether `api_version` of `api_key` uses compact lengths and tagged fields. Versions above the
/// newest known one count as flexible where any is: formats never go back.
pub fn is_flexible(api_key: i16, api_version: i16) -> Result<bool, WireError> {
    usize::try_from(api_key)
        .ok()
        .and_then(|key| FIRST_FLEXIBLE.get(key))
        .map(|&first| api_version >= first)
        .ok_or(WireError::UnknownApi(api_key))
}

/// The version of a request's header: 0, 1 or 2.
pub fn request_header_version(api_key: i16, api_version: i16) -> Result<i16, WireError> {
    Ok(match is_flexible(api_key, api_version)? {
        true => 2,
        false if api_key == CONTROLLED_SHUTDOWN && api_version == 0 => 0,
        false => 1,
    })
}

/// The version of a response's header: 0 or 1.
pub fn response_header_version(api_key: i16, api_version: i16) -> Result<i16, WireError> {
    let flexible = is_flexible(api_key, api_version)?;
    Ok(i16::from(flexible && api_key != API_VERSIONS))
}

/// A request's header and where its body begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// The client's own name; never compact, also in flexible headers.
    pub client_id: Option<&'a str>,
    /// Bytes from the start of the frame (size prefix excluded) to the body.
    pub body: usize,
}

impl<'a> RequestHeader<'a> {
    /// Reads the header at the start of `frame` (without its size prefix). The frame need not
    /// have arrived whole: `Truncated` and `LengthBeyondFrame` then mean "read more".
    pub fn peek(frame: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(frame);
        let (api_key, api_version) = (cursor.i16()?, cursor.i16()?);
        let correlation_id = cursor.i32()?;
        let header_version = request_header_version(api_key, api_version)?;
        let client_id = match header_version {
            0 => None,
            _ => cursor.nullable_string(false)?,
        };
        if header_version >= 2 {
            cursor.skip_tagged_fields()?;
        }
        Ok(Self {
            api_key,
            api_version,
            correlation_id,
            client_id,
            body: cursor.position(),
        })
    }

    /// Writes the header; `body` is not looked at.
    pub fn encode(&self, out: &mut impl BufMut) -> Result<(), WireError> {
        let header_version = request_header_version(self.api_key, self.api_version)?;
        out.put_i16(self.api_key);
        out.put_i16(self.api_version);
        out.put_i32(self.correlation_id);
        if header_version >= 1 {
            put::string(out, false, self.client_id)?;
        }
        put::no_tagged_fields(out, header_version >= 2);
        Ok(())
    }
}

/// Reads a response's header: its correlation id, and the bytes up to the body. As with
/// [`RequestHeader::peek`] the frame need not be whole.
pub fn peek_response(
    api_key: i16,
    api_version: i16,
    frame: &[u8],
) -> Result<(i32, usize), WireError> {
    let mut cursor = Cursor::new(frame);
    let correlation_id = cursor.i32()?;
    if response_header_version(api_key, api_version)? >= 1 {
        cursor.skip_tagged_fields()?;
    }
    Ok((correlation_id, cursor.position()))
}

/// Writes a response's header.
pub fn encode_response(
    api_key: i16,
    api_version: i16,
    correlation_id: i32,
    out: &mut impl BufMut,
) -> Result<(), WireError> {
    let header_version = response_header_version(api_key, api_version)?;
    out.put_i32(correlation_id);
    put::no_tagged_fields(out, header_version >= 1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::messages::{ApiKey, RequestHeader as TheirHeader};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

    #[test]
    fn header_versions_agree_with_the_crate() {
        for api in ApiKey::iter() {
            let range = api.valid_versions();
            for version in range.min..=range.max {
                let key = api as i16;
                let ours = (
                    request_header_version(key, version),
                    response_header_version(key, version),
                );
                let theirs = (
                    api.request_header_version(version),
                    api.response_header_version(version),
                );
                assert_eq!(ours, (Ok(theirs.0), Ok(theirs.1)), "{api:?} v{version}");
            }
        }
        assert_eq!(request_header_version(7, 0), Ok(0));
        assert_eq!(request_header_version(7, 1), Ok(1));
        assert_eq!(response_header_version(18, 4), Ok(0));
        assert_eq!(
            request_header_version(93, 0),
            Err(WireError::UnknownApi(93))
        );
        assert_eq!(
            request_header_version(-1, 0),
            Err(WireError::UnknownApi(-1))
        );
    }

    #[test]
    fn headers_are_read_and_written_as_the_crate_does() {
        for (key, version) in [(3, 8), (3, 9), (18, 3), (0, 9)] {
            for client_id in [None, Some(""), Some("app-1")] {
                let header = RequestHeader {
                    api_key: key,
                    api_version: version,
                    correlation_id: 77,
                    client_id,
                    body: 0,
                };
                let mut bytes = BytesMut::new();
                header.encode(&mut bytes).unwrap();
                let header_version = request_header_version(key, version).unwrap();
                let theirs = TheirHeader::decode(&mut bytes.clone(), header_version).unwrap();
                assert_eq!(theirs.client_id.as_ref().map(|id| id.as_str()), client_id);
                let with_tag = theirs.with_client_id(client_id.map(StrBytes::from_static_str));
                let with_tag = match header_version {
                    2 => with_tag.with_unknown_tagged_field(9, "tagged".into()),
                    _ => with_tag,
                };
                let mut bytes = BytesMut::new();
                with_tag.encode(&mut bytes, header_version).unwrap();
                let body = bytes.len();
                bytes.extend_from_slice(b"body");
                assert_eq!(
                    RequestHeader::peek(&bytes),
                    Ok(RequestHeader { body, ..header })
                );
                for cut in 0..body {
                    assert!(RequestHeader::peek(&bytes[..cut]).is_err());
                }
            }
        }
    }

    #[test]
    fn response_headers() {
        let mut bytes = BytesMut::new();
        encode_response(3, 9, 5, &mut bytes).unwrap();
        assert_eq!(peek_response(3, 9, &bytes), Ok((5, 5)));
        assert_eq!(peek_response(3, 8, &bytes), Ok((5, 4)));
        assert_eq!(peek_response(18, 3, &bytes), Ok((5, 4)));
    }
}
