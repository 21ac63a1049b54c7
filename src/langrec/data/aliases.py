"""The names under which other tools write the columns that langrec reads, and the rule that tells texts from fields."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from langrec.data import aliases_abroad as abroad

# Role -> names, in order of preference; compared without case, spaces, dashes and underscores.
EVENT_ROLES: dict[str, tuple[str, ...]] = {
    "user": (
        *("user_id", "user", "uid", "reviewer_id", "household_id", "customer_id", "visitor_id", "member_id"),
        *("account_id", "profile_id", "session_id", "client_id", "用户id", "用户编号", "用户", "会员id", "会员编号"),
        *abroad.USER,
    ),
    "item": (
        *(
            "item_id",
            "item",
            "iid",
            "movie_id",
            "parent_asin",
            "asin",
            "product_id",
            "article_id",
            "news_id",
            "book_id",
        ),
        *("video_id", "track_id", "song_id", "listing_id", "sku", "isbn", "content_id", "recipe_id", "business_id"),
        *("商品id", "商品编号", "商品", "物品id", "物品编号", "物品", "货号"),
        *abroad.ITEM,
    ),
    "at": (
        *("timestamp", "datetime", "time", "unix_review_time", "event_time", "created_at", "occurred_at", "at", "date"),
        *("ts", "review_time", "时间戳", "时间", "日期"),
        *abroad.TIME,
    ),
    "value": (
        *("rating", "overall", "stars", "value", "weight", "score", "quantity", "count"),
        *(*abroad.RATING, "数值", "数量", *abroad.AMOUNT),
    ),
    "type": (
        "type",
        "event_type",
        "event",
        "feedback_type",
        "action",
        "behavior",
        "behaviour_type",
        "behavior_type",
        "行为类型",
        "行为",
        "类型",
        *abroad.TYPE,
    ),
    "position": ("position", "seq", "sequence", "order", "step", "rank_in_session"),
}
ITEM_ROLES: dict[str, tuple[str, ...]] = {
    # What an English table calls id is not what it calls by a word of another language.
    "item": (*EVENT_ROLES["item"][: -len(abroad.ITEM)], "id", "编号", *abroad.ITEM),
    "title": (
        "title",
        "movie_title",
        "name",
        "product_name",
        "item_name",
        "product_title",
        "headline",
        "标题",
        "商品名称",
        "商品名",
        "名称",
        "书名",
        *abroad.TITLE,
    ),
    "categories": (
        *("categories", "genres", "category", "genre", "class", "labels", "product_category", "category_name"),
        *("main_category", "department", "topic_tag", "first_level_category_name", "分类", "类别", "类目"),
        *abroad.CATEGORIES,
    ),
    "image": (
        "image",
        "image_url",
        "image_path",
        "img",
        "im_url",
        "photo",
        "poster",
        "thumbnail",
        "图片",
        *abroad.IMAGE,
    ),
    "price": ("price", "list_price", "cost", "价格", "售价", *abroad.PRICE),
    "at": (
        "timestamp",
        "created_at",
        "published_at",
        "publish_time",
        "release_date",
        "date_added",
        "datetime",
        "date",
        "at",
        "上架时间",
        "发布时间",
        *abroad.PUBLISHED,
    ),
    "release_year": ("release_year", "year", "年份", *abroad.YEAR),
    "hidden": ("hidden", "is_hidden", "隐藏", *abroad.HIDDEN),
}
# Text columns known by name, in reading order.
TEXT_NAMES = (
    *("subtitle", "tagline", "summary", "abstract", "overview", "description", "plot", "synopsis", "caption", "text"),
    *(
        "body",
        "content",
        "features",
        "feature",
        "details_text",
        "keywords",
        "lyrics",
        "review",
        "product_type",
        "brand",
    ),
    *("manufacturer", "author", "authors", "artist", "director", "directors", "top_cast", "cast", "actors"),
    *("副标题", "简介", "摘要", "描述", "商品描述", "内容", "关键词", "品牌", "作者"),
    *abroad.TEXTS,
)
LONG_TEXT = 40  # mean characters from which a column of unknown name counts as a text


def key(name: str) -> str:
    """A column name as it is compared: userId, USER_ID and "user id" are one, as are full and half width, é and e."""
    bare = re.sub(r"[\s_\-\u0300-\u036f]+", "", unicodedata.normalize("NFKD", name))
    return unicodedata.normalize("NFC", bare).lower().replace("\u0307", "").replace("ı", "i")


def find_roles(columns: Sequence[str], roles: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """The column of each role that the table holds, by the order of preference; a column serves one role."""
    by_key: dict[str, str] = {}
    for column in columns:
        by_key.setdefault(key(column), column)
    found: dict[str, str] = {}
    for role, names in roles.items():
        for name in names:
            match = by_key.get(key(name))
            if match is not None and match not in found.values():
                found[role] = match
                break
    return found
