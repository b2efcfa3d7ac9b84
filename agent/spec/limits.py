"""spec/limits — the numbers that bound a job spec, each with where it comes from. A host's own limits are the config's, not these."""

MIB = 1 << 20
INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)

# The body: a legal spec nests four deep and holds some thousand values; more is a mistake or an attack.
MAX_DEPTH = 16
MAX_VALUES = 20_000

MAX_NAME_CHARACTERS = 200
MAX_IMAGE_CHARACTERS = 512
MAX_USER_CHARACTERS = 128
MAX_QUEUE_CHARACTERS = 64
# Each is that of the jobs of the kind of its name, so that no place of theirs is taken by what its user named so.
RESERVED_QUEUES = ("describe", "cords")

# Linux MAX_ARG_STRLEN (include/uapi/linux/binfmts.h): 32 pages for one argument or NAME=value, its closing NUL included.
MAX_ARGUMENT_BYTES = 131_071
MAX_ARGUMENTS = 4_096
MAX_ENV = 1_024
MAX_ENV_NAME_CHARACTERS = 256
MAX_SECRETS = 64
# Fits one environment variable too, since secrets_env may ask for that.
MAX_SECRET_BYTES = 65_536
MAX_REGISTRY_USERNAME_CHARACTERS = 255
# Some registries take a whole JSON key file as the password.
MAX_REGISTRY_PASSWORD_CHARACTERS = 16_384
MAX_LABELS = 64
MAX_LABEL_KEY_CHARACTERS = 128
MAX_LABEL_VALUE_CHARACTERS = 1_024
MAX_PATH_BYTES = 4_095
# What servers and proxies commonly take as a request line.
MAX_URL_CHARACTERS = 2_048
# One that an endpoint gave: with a session's token in it. Servers take a request line of 8 KiB and refuse a longer one.
MAX_GRANTED_URL_CHARACTERS = 8_000
MAX_NOTIFY_SECRET_CHARACTERS = 1_024
MAX_SSH_KEYS = 64
# One line of an RSA key of 8192 bits has 1,500 characters. The server reads lines of up to 4,200, our options included
# (dropbear, MAX_AUTHKEYS_LINE).
MAX_SSH_KEY_CHARACTERS = 2_560
MAX_SSH_COMMENT_CHARACTERS = 256
# Less is refused by today's clients and servers.
MIN_RSA_BITS, MAX_RSA_BITS = 2_048, 8_192
# A key with an expiry: less than a minute is over before a slow client has connected.
MIN_KEY_SECONDS, MAX_KEY_SECONDS = 10, 86_400
MAX_UPLOAD_HEADERS = 32
MAX_UPLOAD_HEADER_CHARACTERS = 4_096
MAX_UPLOAD_METADATA = 32
MAX_UPLOAD_METADATA_CHARACTERS = 1_024
# Quiet for longer than a day is never; a deadline of less than a minute would give up at the first hiccup.
MIN_QUIET_SECONDS, MAX_QUIET_SECONDS = 1, 86_400
MIN_UPLOAD_DEADLINE_SECONDS, MAX_UPLOAD_DEADLINE_SECONDS = 60, 604_800

# Of `include` and of `exclude`. Both bound what a pattern made to be slow can cost (core/globs says how much that is).
MAX_GLOBS = 32
MAX_GLOB_CHARACTERS = 256

# The engine's range of CPUs starts at 0.01 (a CFS quota of 1 ms); Linux can be built for at most 8192 CPUs.
MIN_CPUS = 0.01
MAX_CPUS = 8_192
# The engine refuses less ("Minimum memory limit allowed is 6MB").
MIN_MEMORY_BYTES = 6 * MIB
# A page; and a tmpfs of size 0 would have no limit at all.
MIN_SHM_BYTES = 4_096
# An ext4 file system of 32 MiB, its journal in it, leaves 25 MiB to the job; of much less it leaves too little to be meant.
MIN_DISK_BYTES = 32 * MIB
# The most that ext4 holds with blocks of 4 KiB and 32-bit numbers of them, which older kernels and tools are bound to.
MAX_DISK_BYTES = 1 << 44
# Linux PID_MAX_LIMIT.
MAX_PIDS = 4_194_304

MAX_GPUS = 1_024
MAX_GPU_MODELS = 32
MAX_GPU_TEXT_CHARACTERS = 128
# What one job may have at all; how many this host grants is the config's `job_ports`.
MAX_PORTS = 1_024
MAX_PORT_NAME_CHARACTERS = 63
SSH_PORT = 2_202
MIN_PORT = 8_002
MAX_PORT = 65_535

MIN_TIMEOUT_SECONDS = 30
MAX_TIMEOUT_SECONDS = 86_400
MAX_GRACE_SECONDS = 600
MAX_RETRIES = 100
MAX_BACKOFF_SECONDS = 300
MIN_PRIORITY = -100
MAX_PRIORITY = 100
