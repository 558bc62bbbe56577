# SPDX-License-Identifier: Apache-2.0
"""What starts model servers: each launcher alone, against the real thing."""
