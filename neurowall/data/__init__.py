# SPDX-License-Identifier: Apache-2.0
"""What is kept on disk and in stores; may import `model` only, never `kernel`."""
