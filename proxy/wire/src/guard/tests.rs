//! The tables against the crate they guard: bodies written by the tables are decoded by the crate
//! to the last byte and encoded back to the same bytes; what the guard accepts after random damage
//! the crate decodes or refuses without a panic.

use std::panic::catch_unwind;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Message, VersionRange};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use super::*;
use crate::put;

/// One message type of the crate, without its type.
struct Theirs {
    versions: VersionRange,
    default: fn(i16) -> Option<BytesMut>,
    /// Decodes; answers the bytes left and the message encoded again.
    recode: fn(Bytes, i16) -> Result<(usize, BytesMut), String>,
}

impl Theirs {
    fn of<T: Message + Default + Encodable + Decodable>() -> Self {
        Self {
            versions: T::VERSIONS,
            default: |version| {
                let mut out = BytesMut::new();
                T::default().encode(&mut out, version).ok().map(|()| out)
            },
            recode: |mut bytes, version| {
                let message = T::decode(&mut bytes, version).map_err(|e| e.to_string())?;
                let mut out = BytesMut::new();
                message
                    .encode(&mut out, version)
                    .map_err(|e| format!("encode: {e}"))?;
                Ok((bytes.len(), out))
            },
        }
    }
}

macro_rules! apis {
    ($($api:ident: $request:ident, $response:ident;)*) => {
        fn theirs() -> Vec<(ApiKey, Theirs, Theirs)> {
            vec![$((ApiKey::$api, Theirs::of::<$request>(), Theirs::of::<$response>())),*]
        }
    };
}

apis! {
    ApiVersions: ApiVersionsRequest, ApiVersionsResponse;
    Metadata: MetadataRequest, MetadataResponse;
    FindCoordinator: FindCoordinatorRequest, FindCoordinatorResponse;
    DescribeCluster: DescribeClusterRequest, DescribeClusterResponse;
    SaslHandshake: SaslHandshakeRequest, SaslHandshakeResponse;
    SaslAuthenticate: SaslAuthenticateRequest, SaslAuthenticateResponse;
    Produce: ProduceRequest, ProduceResponse;
    Fetch: FetchRequest, FetchResponse;
    ListOffsets: ListOffsetsRequest, ListOffsetsResponse;
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    DeleteRecords: DeleteRecordsRequest, DeleteRecordsResponse;
    OffsetCommit: OffsetCommitRequest, OffsetCommitResponse;
    OffsetFetch: OffsetFetchRequest, OffsetFetchResponse;
    JoinGroup: JoinGroupRequest, JoinGroupResponse;
    Heartbeat: HeartbeatRequest, HeartbeatResponse;
    LeaveGroup: LeaveGroupRequest, LeaveGroupResponse;
    SyncGroup: SyncGroupRequest, SyncGroupResponse;
    DescribeGroups: DescribeGroupsRequest, DescribeGroupsResponse;
    ListGroups: ListGroupsRequest, ListGroupsResponse;
    DeleteGroups: DeleteGroupsRequest, DeleteGroupsResponse;
    InitProducerId: InitProducerIdRequest, InitProducerIdResponse;
    AddPartitionsToTxn: AddPartitionsToTxnRequest, AddPartitionsToTxnResponse;
    AddOffsetsToTxn: AddOffsetsToTxnRequest, AddOffsetsToTxnResponse;
    EndTxn: EndTxnRequest, EndTxnResponse;
    WriteTxnMarkers: WriteTxnMarkersRequest, WriteTxnMarkersResponse;
    TxnOffsetCommit: TxnOffsetCommitRequest, TxnOffsetCommitResponse;
    DescribeProducers: DescribeProducersRequest, DescribeProducersResponse;
    ListTransactions: ListTransactionsRequest, ListTransactionsResponse;
    CreateTopics: CreateTopicsRequest, CreateTopicsResponse;
    DeleteTopics: DeleteTopicsRequest, DeleteTopicsResponse;
    CreatePartitions: CreatePartitionsRequest, CreatePartitionsResponse;
    DescribeConfigs: DescribeConfigsRequest, DescribeConfigsResponse;
    AlterConfigs: AlterConfigsRequest, AlterConfigsResponse;
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    DescribeLogDirs: DescribeLogDirsRequest, DescribeLogDirsResponse;
}

/// Calls `check` with every message and version that has a table.
fn for_every_version(mut check: impl FnMut(&str, &Half, &Theirs, i16)) {
    let mut seen = 0;
    for (key, request, response) in theirs() {
        let api = api(key as i16).unwrap();
        for (half, theirs, name) in [
            (&api.request, request, "request"),
            (&api.response, response, "response"),
        ] {
            let range = theirs.versions;
            assert_eq!(half.versions, range.min..=range.max, "{key:?} {name}");
            for version in half.versions.clone() {
                check(
                    &format!("{key:?} {name} v{version}"),
                    half,
                    &theirs,
                    version,
                );
            }
        }
        seen += 1;
    }
    assert_eq!(
        seen,
        FAMILIES.iter().map(|family| family.len()).sum::<usize>()
    );
}

/// Writes a random body by the tables.
struct Writer<'a> {
    out: Vec<u8>,
    random: &'a mut StdRng,
    version: i16,
    flexible: bool,
    shape: Shape,
}

/// What a random body is like.
#[derive(Clone, Copy)]
struct Shape {
    /// Elements in each array.
    elements: usize,
    nulls: bool,
    tags: bool,
}

impl Writer<'_> {
    fn fields(&mut self, fields: &Fields) {
        for field in fields.fields {
            if field.versions.contains(&self.version) {
                self.kind(&field.kind);
            }
        }
        if self.flexible {
            self.tagged(fields);
        }
    }

    fn tagged(&mut self, fields: &Fields) {
        let tags = self.shape.tags;
        let known = || {
            fields
                .tagged
                .iter()
                .filter(|tagged| tags && tagged.versions.contains(&self.version))
        };
        let unknown = tags && self.random.random_bool(0.5);
        let count = known().count() + usize::from(unknown);
        put::unsigned_varint(&mut self.out, count as u32);
        for tagged in known().collect::<Vec<_>>() {
            put::unsigned_varint(&mut self.out, tagged.tag);
            let before = std::mem::take(&mut self.out);
            self.kind(&tagged.kind);
            let content = std::mem::replace(&mut self.out, before);
            put::unsigned_varint(&mut self.out, content.len() as u32);
            self.out.extend_from_slice(&content);
        }
        if unknown {
            self.out.extend_from_slice(&[99, 3, 1, 2, 3]);
        }
    }

    fn kind(&mut self, kind: &Kind) {
        let null = self.shape.nulls && self.random.random_bool(0.3);
        match kind {
            // Booleans come back as 0 or 1.
            Kind::Fixed(1) => self.out.put_u8(1),
            Kind::Fixed(bytes) => {
                let at = self.out.len();
                self.out.resize(at + bytes, 0);
                self.random.fill_bytes(&mut self.out[at..]);
            }
            Kind::Str => {
                let text = &"abc\u{e9}"[..self.random.random_range(0..4)];
                put::string(&mut self.out, self.flexible, (!null).then_some(text)).unwrap();
            }
            Kind::Bytes => {
                put::length(&mut self.out, self.flexible, (!null).then_some(3)).unwrap();
                self.out
                    .extend_from_slice(if null { &[] } else { &[7, 8, 9] });
            }
            Kind::Array(element) => {
                let count = self.shape.elements;
                put::length(&mut self.out, self.flexible, (!null).then_some(count)).unwrap();
                (0..if null { 0 } else { count }).for_each(|_| self.kind(element));
            }
            Kind::Struct(fields) => self.fields(fields),
        }
    }
}

fn random_body(half: &Half, version: i16, random: &mut StdRng, shape: Shape) -> Vec<u8> {
    let flexible = version >= half.flexible_since;
    let mut writer = Writer {
        out: Vec::new(),
        random,
        version,
        flexible,
        shape,
    };
    writer.fields(half.fields);
    writer.out
}

fn guard(half: &Half, version: i16, body: &[u8]) -> Result<usize, WireError> {
    walk(0, version, half, body, REQUEST_ELEMENTS_MAX)
}

#[test]
fn default_messages_are_walked_to_their_end() {
    for_every_version(|name, half, theirs, version| {
        // Some defaults cannot be encoded in some versions; the random bodies cover those.
        if let Some(body) = (theirs.default)(version) {
            assert_eq!(guard(half, version, &body), Ok(body.len()), "{name}");
        }
    });
}

#[test]
fn bodies_written_by_the_tables_are_what_the_crate_reads() {
    let mut random = StdRng::seed_from_u64(1);
    for_every_version(|name, half, theirs, version| {
        for (elements, tags) in [
            (0, false),
            (1, false),
            (3, false),
            (0, true),
            (1, true),
            (3, true),
        ] {
            let shape = Shape {
                elements,
                nulls: false,
                tags,
            };
            let body = random_body(half, version, &mut random, shape);
            assert_eq!(guard(half, version, &body), Ok(body.len()), "{name}");
            let (left, again) = (theirs.recode)(body.clone().into(), version)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(left, 0, "{name}");
            // The crate leaves out known tagged fields that hold their default.
            if !tags || elements > 0 {
                assert_eq!(again, body, "{name}");
            }
            assert_eq!(guard(half, version, &again), Ok(again.len()), "{name}");
        }
    });
}

#[test]
fn nulls_are_walked_wherever_they_stand() {
    let mut random = StdRng::seed_from_u64(2);
    let mut decoded = 0;
    for_every_version(|name, half, theirs, version| {
        for _ in 0..8 {
            let shape = Shape {
                elements: 2,
                nulls: true,
                tags: true,
            };
            let body = random_body(half, version, &mut random, shape);
            assert_eq!(guard(half, version, &body), Ok(body.len()), "{name}");
            if let Ok((left, _)) = (theirs.recode)(body.into(), version) {
                assert_eq!(left, 0, "{name}");
                decoded += 1;
            }
        }
    });
    assert!(decoded > 100, "{decoded}");
}

#[test]
fn what_the_guard_accepts_after_damage_the_crate_survives() {
    let mut random = StdRng::seed_from_u64(3);
    let (mut accepted, mut refused) = (0, 0);
    for_every_version(|name, half, theirs, version| {
        for round in 0..60 {
            let shape = Shape {
                elements: round % 4,
                nulls: round % 2 == 0,
                tags: round % 3 == 0,
            };
            let mut body = random_body(half, version, &mut random, shape);
            damage(&mut body, &mut random);
            if guard(half, version, &body).is_err() {
                refused += 1;
                continue;
            }
            accepted += 1;
            let recode = theirs.recode;
            assert!(
                catch_unwind(move || drop(recode(body.into(), version))).is_ok(),
                "{name}"
            );
        }
    });
    assert!(accepted > 1000 && refused > 1000, "{accepted} {refused}");
}

/// Flips, overwrites or cuts some bytes.
fn damage(body: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..4) {
        if body.is_empty() {
            return;
        }
        let at = random.random_range(0..body.len());
        match random.random_range(0..4) {
            0 => body[at] ^= 1 << random.random_range(0..8),
            1 => body[at] = [0, 0x7f, 0x80, 0xff][random.random_range(0..4)],
            2 => body.truncate(at),
            _ => {
                let end = (at + 4).min(body.len());
                body[at..end].fill(0x7f);
            }
        }
    }
}

#[test]
fn eight_bytes_do_not_abort_the_process() {
    let body = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert!(matches!(
        check_request(3, 0, &body),
        Err(WireError::LengthBeyondFrame { .. })
    ));
    let flexible = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];
    assert!(matches!(
        check_request(3, 9, &flexible),
        Err(WireError::LengthBeyondFrame { .. })
    ));
}

#[test]
fn elements_are_bounded_and_leftovers_are_told() {
    let count = REQUEST_ELEMENTS_MAX + 1;
    let mut body = (count as i32).to_be_bytes().to_vec();
    body.resize(4 + 2 * count, 0);
    let too_many = WireError::TooManyElements(REQUEST_ELEMENTS_MAX);
    assert_eq!(check_request(3, 0, &body), Err(too_many));
    let body = [0, 0, 0, 0, 9];
    assert_eq!(check_request(3, 0, &body), Err(WireError::TrailingBytes(1)));
    assert_eq!(walk_request(3, 0, &body), Ok(4));
}

#[test]
fn an_element_is_small_in_memory() {
    let sizes = [
        size_of::<metadata_request::MetadataRequestTopic>(),
        size_of::<offset_commit_request::OffsetCommitRequestPartition>(),
        size_of::<join_group_request::JoinGroupRequestProtocol>(),
        size_of::<leave_group_request::MemberIdentity>(),
        size_of::<create_topics_request::CreatableTopic>(),
        size_of::<add_partitions_to_txn_request::AddPartitionsToTxnTransaction>(),
        size_of::<fetch_request::FetchPartition>(),
        size_of::<metadata_response::MetadataResponsePartition>(),
        size_of::<metadata_response::MetadataResponseTopic>(),
        size_of::<describe_groups_response::DescribedGroup>(),
        size_of::<describe_groups_response::DescribedGroupMember>(),
        size_of::<describe_configs_response::DescribeConfigsResourceResult>(),
    ];
    assert!(sizes.iter().all(|&size| size <= 256), "{sizes:?}");
}

#[test]
fn what_has_no_table_is_refused() {
    assert_eq!(check_request(999, 0, &[]), Err(WireError::UnknownApi(999)));
    for version in [-1, 99] {
        let unsupported = WireError::UnsupportedVersion {
            api_key: 3,
            version,
        };
        assert_eq!(check_response(3, version, &[]), Err(unsupported));
    }
}
