"""Names of columns in traditional Chinese, Japanese, Korean, Russian, German, French, Spanish and Turkish.

Simplified Chinese stands beside English in `aliases.py`. A name that is an English word for something else is left out.
"""

from __future__ import annotations

USER = (
    *("用戶id", "用戶編號", "用戶", "會員id", "會員編號", "會員", "顧客編號"),
    *("ユーザーid", "ユーザid", "ユーザー", "顧客id", "顧客番号", "会員id", "会員番号"),
    *("사용자id", "사용자", "고객id", "고객번호", "고객", "회원id", "회원번호", "회원"),
    *("idпользователя", "пользователь", "idклиента", "кодклиента", "клиент", "покупатель"),
    *("benutzerid", "benutzer", "nutzerid", "nutzer", "kundenid", "kundennummer", "kundennr", "kunde"),
    *("idutilisateur", "utilisateur", "idclient", "numéroclient"),
    *("idusuario", "usuario", "idcliente", "cliente"),
    *("kullanıcıid", "kullanıcı", "müşteriid", "müşterino", "müşteri"),
)
ITEM = (
    *("商品編號", "物品編號", "貨號"),
    *("商品番号", "商品コード", "アイテムid", "品番"),
    *("상품id", "상품번호", "상품코드", "상품", "품번"),
    *("idтовара", "кодтовара", "артикул", "товар"),
    *("artikelid", "artikelnummer", "artikelnr", "artikel", "produktid", "produktnummer", "produkt"),
    *("idarticle", "idproduit", "produit"),
    *("idproducto", "producto", "idartículo"),
    *("ürünid", "ürünkodu", "ürün"),
)
DAY = ("日付", "날짜", "일자", "дата", "datum", "fecha", "tarih")
TIME = (
    *("時間戳", "時間", "日時", "タイムスタンプ", "購入日時", "購入日", "注文日時", "注文日"),
    *("일시", "시간", "구매일시", "구매일", "주문일시", "주문일"),
    *("датаивремя", "время", "датазаказа", "датапокупки"),
    *("zeitstempel", "zeitpunkt", "zeit", "bestelldatum", "kaufdatum"),
    *("horodatage", "datecommande", "dateachat", "fechahora", "zaman"),
    *DAY,
)
RATING = ("评分", "評分", "評価", "평점", "별점", "оценка", "рейтинг", "bewertung", "évaluation", "valoración", "puan")
AMOUNT = ("數量", "個数", "수량", "количество", "menge", "anzahl", "quantité", "cantidad", "adet", "miktar")
TYPE = (
    *("行為類型", "行為", "類型", "行動", "種別", "유형", "행동", "тип", "событие", "действие"),
    *("typ", "aktion", "ereignis", "événement", "évènement", "tipo", "evento", "işlem"),
)
TITLE = (
    *("標題", "商品名稱", "名稱", "書名", "タイトル", "品名", "상품명", "제목", "이름"),
    *("название", "наименование", "заголовок", "titel", "bezeichnung", "produktname", "artikelname"),
    *("titre", "nomproduit", "nom", "désignation", "libellé", "título", "nombre", "başlık", "ürünadı"),
)
CATEGORIES = (
    *("分類", "類別", "カテゴリ", "カテゴリー", "ジャンル", "카테고리", "분류", "장르"),
    *("категории", "категория", "жанры", "жанр", "kategorien", "kategorie", "warengruppe"),
    *("catégories", "catégorie", "rayon", "categorías", "categoría", "género", "kategori", "kategoriler", "tür"),
)
IMAGE = ("圖片", "画像", "이미지", "изображение", "картинка", "bild", "imagen", "resim", "görsel")
PRICE = ("價格", "售價", "価格", "値段", "単価", "가격", "판매가", "цена", "preis", "prix", "precio", "fiyat")
PUBLISHED = (
    "上架時間",
    "發布時間",
    "発売日",
    "登録日",
    "출시일",
    "датавыхода",
    "erscheinungsdatum",
    "dateparution",
    *DAY,
)
YEAR = ("연도", "год", "jahr", "année", "año", "yıl")
HIDDEN = ("隱藏", "非表示", "숨김", "скрыт", "ausgeblendet", "masqué", "oculto", "gizli")
TEXTS = (
    *("副標題", "簡介", "內容", "關鍵字", "商品説明", "説明", "概要", "ブランド", "メーカー", "著者"),
    *("상품설명", "설명", "내용", "브랜드", "제조사", "저자", "описание", "бренд", "производитель", "автор"),
    *("beschreibung", "marke", "hersteller", "autor", "marque", "auteur", "fabricant"),
    *("descripción", "marca", "açıklama", "marka", "yazar"),
)
