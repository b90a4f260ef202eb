//! Pure: whether a group may move, from its coordinator's description.

use kafka_protocol::messages::describe_groups_response::DescribedGroup;

use super::machine::Expected;

/// Assignors of all known clients under which every member gives up its partitions before it rejoins. Members of a
/// cooperative group go on processing while a JoinGroup is held (trap 5), so what is not known to be eager is refused.
const EAGER: [&str; 5] = [
    "range",
    "roundrobin",
    "sticky",
    "RoundRobinAssigner",
    "consistent",
];

/// A group that may move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movable {
    /// The protocol (assignor) that its members agreed on; empty where it has none.
    pub protocol: String,
    /// Its members.
    pub members: Vec<Expected>,
    /// What one member said with its protocol, for the placeholder to say the same.
    pub metadata: bytes::Bytes,
}

/// Why a group does not move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmovable {
    /// One sentence for the operator.
    pub why: String,
    /// Whether it may pass by itself.
    pub passing: bool,
}

impl Unmovable {
    fn lasting(why: String) -> Self {
        Self {
            why,
            passing: false,
        }
    }
}

/// Judges a group by what its coordinator says.
pub fn judge(described: &DescribedGroup) -> Result<Movable, Unmovable> {
    let protocol = described.protocol_data.to_string();
    match described.group_state.as_str() {
        "Empty" | "Dead" => {
            return Ok(Movable {
                protocol: String::new(),
                members: Vec::new(),
                metadata: bytes::Bytes::new(),
            });
        }
        "Stable" => {}
        other => {
            return Err(Unmovable {
                why: format!("the group is not at rest ({other}); it moves when it is stable"),
                passing: true,
            });
        }
    }
    if described.protocol_type.as_str() != "consumer" {
        return Err(Unmovable::lasting(format!(
            "the group is of type {:?}; only consumer groups move for now",
            described.protocol_type.as_str()
        )));
    }
    if !EAGER.contains(&protocol.as_str()) {
        return Err(Unmovable::lasting(
            if protocol.starts_with("cooperative") || protocol == "stream" {
                format!(
                    "the group rebalances cooperatively ({protocol}); moving cooperative groups is not built yet"
                )
            } else {
                format!("assignor {protocol:?} is not known to be eager")
            },
        ));
    }
    let Some(first) = described.members.first() else {
        return Err(Unmovable::lasting(
            "the coordinator names no members".to_owned(),
        ));
    };
    let members = described.members.iter().map(|member| Expected {
        member_id: member.member_id.to_string(),
        instance: member.group_instance_id.as_ref().map(ToString::to_string),
        assignment: member.member_assignment.clone(),
    });
    Ok(Movable {
        protocol,
        members: members.collect(),
        metadata: first.member_metadata.clone(),
    })
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_groups_response::DescribedGroupMember;
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn group(state: &'static str, kind: &'static str, protocol: &'static str) -> DescribedGroup {
        let member =
            DescribedGroupMember::default().with_member_id(StrBytes::from_static_str("member-1"));
        DescribedGroup::default()
            .with_group_state(StrBytes::from_static_str(state))
            .with_protocol_type(StrBytes::from_static_str(kind))
            .with_protocol_data(StrBytes::from_static_str(protocol))
            .with_members(vec![member])
    }

    #[test]
    fn eager_consumer_groups_at_rest_move() {
        let movable = judge(&group("Stable", "consumer", "range")).unwrap();
        assert_eq!(movable.members.len(), 1);
        assert!(
            judge(&group("Empty", "consumer", ""))
                .unwrap()
                .members
                .is_empty()
        );
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        for (state, kind, protocol, word) in [
            ("PreparingRebalance", "consumer", "range", "at rest"),
            ("Stable", "connect", "sessioned", "connect"),
            ("Stable", "consumer", "cooperative-sticky", "cooperatively"),
            ("Stable", "consumer", "stream", "cooperatively"),
            ("Stable", "consumer", "my-assignor", "my-assignor"),
        ] {
            let why = judge(&group(state, kind, protocol)).unwrap_err().why;
            assert!(why.contains(word), "{why}");
        }
    }
}
