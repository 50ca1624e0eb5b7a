"""Who may use the balancer: users, their API keys, invitations, and the rules about them."""

from llmlb.accounts.types import (
    VIEWER_PERMISSIONS,
    ApiKey,
    Invitation,
    InvitationStatus,
    KeyId,
    KeyLimits,
    Permission,
    RevokedSession,
    Role,
    User,
    UserId,
)
from llmlb.accounts.view import Accounts, Row, Step

__all__ = [
    "VIEWER_PERMISSIONS",
    "Accounts",
    "ApiKey",
    "Invitation",
    "InvitationStatus",
    "KeyId",
    "KeyLimits",
    "Permission",
    "RevokedSession",
    "Role",
    "Row",
    "Step",
    "User",
    "UserId",
]
