"""Who features are about. Ids are vocabulary rows of the workspace's data, not raw ids."""

from feast import Entity, ValueType

user = Entity(name="user", join_keys=["user"], value_type=ValueType.INT64, description="Row of the user vocabulary.")
item = Entity(name="item", join_keys=["item"], value_type=ValueType.INT64, description="Row of the item vocabulary.")
