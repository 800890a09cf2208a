"""The counters of an adapter."""

from __future__ import annotations

from pyiscsi.ops.adapter import Adapter, failed
from pyiscsi.transport.adapter import decode_host_statistics
from pyiscsi.transport.numbers import UEvent
from pyiscsi.transport.uevent import Refused

COUNTERS = (
    "mactx_frames", "mactx_bytes", "mactx_multicast_frames", "mactx_broadcast_frames",
    "mactx_pause_frames", "mactx_control_frames", "mactx_deferral", "mactx_excess_deferral",
    "mactx_late_collision", "mactx_abort", "mactx_single_collision", "mactx_multiple_collision",
    "mactx_collision", "mactx_frames_dropped", "mactx_jumbo_frames",
    "macrx_frames", "macrx_bytes", "macrx_unknown_control_frames", "macrx_pause_frames",
    "macrx_control_frames", "macrx_dribble", "macrx_frame_length_error", "macrx_jabber",
    "macrx_carrier_sense_error", "macrx_frame_discarded", "macrx_frames_dropped",
    "mac_crc_error", "mac_encoding_error", "macrx_length_error_large",
    "macrx_length_error_small", "macrx_multicast_frames", "macrx_broadcast_frames",
    "iptx_packets", "iptx_bytes", "iptx_fragments",
    "iprx_packets", "iprx_bytes", "iprx_fragments",
    "ip_datagram_reassembly", "ip_invalid_address_error", "ip_error_packets",
    "ip_fragrx_overlap", "ip_fragrx_outoforder", "ip_datagram_reassembly_timeout",
    "ipv6tx_packets", "ipv6tx_bytes", "ipv6tx_fragments",
    "ipv6rx_packets", "ipv6rx_bytes", "ipv6rx_fragments",
    "ipv6_datagram_reassembly", "ipv6_invalid_address_error", "ipv6_error_packets",
    "ipv6_fragrx_overlap", "ipv6_fragrx_outoforder", "ipv6_datagram_reassembly_timeout",
    "tcptx_segments", "tcptx_bytes", "tcprx_segments", "tcprx_byte", "tcp_duplicate_ack_retx",
    "tcp_retx_timer_expired", "tcprx_duplicate_ack", "tcprx_pure_ackr", "tcptx_delayed_ack",
    "tcptx_pure_ack", "tcprx_segment_error", "tcprx_segment_outoforder", "tcprx_window_probe",
    "tcprx_window_update", "tcptx_window_probe_persist",
    "ecc_error_correction",
    "iscsi_pdu_tx", "iscsi_data_bytes_tx", "iscsi_pdu_rx", "iscsi_data_bytes_rx",
    "iscsi_io_completed", "iscsi_unexpected_io_rx", "iscsi_format_error",
    "iscsi_hdr_digest_error", "iscsi_data_digest_error", "iscsi_sequence_error",
)  # fmt: skip
"""struct iscsi_offload_host_stats: its u64 in their order, which is that of the output."""


def counters(adapter: Adapter) -> dict[str, int]:
    """Name to value in the order they are printed. Raises PyIscsiError."""
    try:
        answer = adapter.ask(UEvent.GET_HOST_STATS, {})
    except Refused as error:
        # The original adds errno, which a refusal does not set.
        raise failed(error, "get_host_stats failed. errno=0") from error
    return decode_host_statistics(answer.payload, COUNTERS)
